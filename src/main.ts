/** The program: picks the mode, builds the real Env from io, and joins the parts. */
import { selfTest } from './cli/self-test.ts';
import { VERSION } from './io/version.ts';

const HELP = `hstore ${VERSION}: a consistent, durable key-value database that speaks the Redis protocol

usage: hstore MODE [arguments]

  --help       this text
  --version    the version
`;

main(process.argv.slice(2)).catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});

async function main([mode = '--help', ...rest]: string[]): Promise<void> {
  if (mode === 'selftest' && rest.length === 0) await selfTest();
  else if (mode === '--version' || mode === '-v') console.log(VERSION);
  else if (mode === '--help' || mode === '-h') process.stdout.write(HELP);
  else {
    console.error(`hstore: unknown mode '${mode}'; see hstore --help`);
    process.exitCode = 2;
  }
}
