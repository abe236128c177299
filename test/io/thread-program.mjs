/** What the threads of threads.test.ts run: does as it is told, and tells what it was started with. */
import { parentPort, workerData } from 'node:worker_threads';

parentPort.postMessage(workerData);
parentPort.on('message', (message) => {
  if (message === 'throw') throw new Error('as told');
  if (message === 'exit') process.exit(3);
  for (; message === 'spin'; );
  const bytes = message instanceof ArrayBuffer ? message.byteLength : 0;
  parentPort.postMessage({ heard: message, bytes });
});
