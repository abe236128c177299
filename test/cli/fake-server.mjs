/**
 * A stand-in for `hstore server`: listens on --port, answers AUTH, PING and INFO. In FAKE_SERVER the tests say how it
 * behaves: `NAME:refuse` ends it at once, `NAME:mute` keeps it from ending at SIGTERM; DEBUG DIE ends it later.
 */
import { createServer } from 'node:net';

const flag = (name) => process.argv[process.argv.indexOf(`--${name}`) + 1];
const [who, how] = (process.env.FAKE_SERVER ?? '').split(':');
const behaviour = who === flag('id') ? how : '';
const password = process.env.HSTORE_REQUIREPASS ?? '';

if (behaviour === 'refuse') {
  console.error('I do not want to');
  process.exit(1);
}
process.on('SIGTERM', () => {
  if (behaviour !== 'mute') process.exit(0);
});
console.error(`I am ${flag('id')} of ${process.env.HSTORE_LAUNCHER}`);

createServer((socket) => {
  let authenticated = password === '';
  const answers = {
    AUTH: (given) => {
      authenticated = given === password;
      return authenticated ? '+OK\r\n' : '-WRONGPASS\r\n';
    },
    PING: () => '+PONG\r\n',
    INFO: () => {
      const text = '# Raft\r\nraft_role:leader\r\nraft_leader_id:n1\r\n';
      return `$${text.length}\r\n${text}\r\n`;
    },
    DIE: () => process.exit(3),
  };
  socket.on('error', () => {});
  socket.on('data', (bytes) => {
    for (const request of bytes.toString().split('*').slice(1)) {
      const words = request.split('\r\n').filter((_, i) => i > 0 && i % 2 === 0);
      const allowed = authenticated || words[0] === 'AUTH';
      socket.write(allowed ? answers[words[0]](words[1]) : '-NOAUTH Authentication required.\r\n');
    }
  });
}).listen(Number(flag('port')), '127.0.0.1');
