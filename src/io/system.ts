/**
 * What the process and the machine say of themselves.
 */
import { arch, release, totalmem, type } from 'node:os';
import type { System } from '../lib/env.ts';

export class ProcessSystem implements System {
  readonly processId = process.pid;
  readonly operatingSystem = `${type()} ${release()} ${arch()}`;
  readonly runtime =
    process.versions.deno === undefined ? `node ${process.versions.node}` : `deno ${process.versions.deno}`;
  readonly memoryTotalBytes = totalmem();

  memory(): { heapBytes: number; residentBytes: number } {
    const { heapUsed, external, rss } = process.memoryUsage();
    return { heapBytes: heapUsed + external, residentBytes: rss };
  }

  cpu(): { userSeconds: number; systemSeconds: number } {
    const { user, system } = process.cpuUsage();
    return { userSeconds: user / 1e6, systemSeconds: system / 1e6 };
  }
}
