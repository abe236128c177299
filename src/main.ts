/** The program: picks the mode, and joins the parts. */
import { clusterMode } from './cli/cluster-mode.ts';
import { EXIT_FAILURE, EXIT_USAGE } from './cli/failure.ts';
import { mainHelp, modeHelp } from './cli/help.ts';
import { readInvocation } from './cli/invocation.ts';
import { selfTest } from './cli/self-test.ts';
import { serverMode } from './cli/server-mode.ts';
import { VERSION } from './io/version.ts';
import { ConfigError } from './lib/errors.ts';
import { checkDirectory } from './server/check-directory.ts';
import { startServer } from './server/server.ts';

main().catch((error: unknown) => {
  if (error instanceof ConfigError) {
    console.error(`hstore: ${error.message}`);
    process.exitCode = EXIT_USAGE;
  } else {
    console.error(error);
    process.exitCode = EXIT_FAILURE;
  }
});

async function main(): Promise<void> {
  const invocation = readInvocation(process.argv.slice(2), process.env);
  switch (invocation.action) {
    case 'version':
      console.log(VERSION);
      return;
    case 'help':
      process.stdout.write(invocation.mode === undefined ? mainHelp(VERSION) : modeHelp(invocation.mode));
      return;
    case 'selftest':
      return selfTest();
    case 'run':
      if (invocation.mode === 'server') {
        return serverMode(invocation.args, { version: VERSION, startServer, checkDirectory });
      }
      return clusterMode(invocation.args);
  }
}
