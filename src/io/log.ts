/**
 * The log: one JSON object per line, on standard error or appended to a file, written by pino. The levels are
 * those of Redis (`loglevel debug|verbose|notice|warning`), which CONFIG SET may change while it runs.
 *
 * Lines are written at once and not gathered: what a server said before it died is what one wants to read.
 *
 *   {"level":"notice","time":"2024-01-31T12:00:00.000Z","pid":4711,"msg":"Ready to accept connections"}
 */
import { pino } from 'pino';
import type { Log, LogFields } from '../lib/env.ts';

export type LogLevel = 'debug' | 'verbose' | 'notice' | 'warning';

const LEVELS: Readonly<Record<LogLevel, number>> = { debug: 20, verbose: 30, notice: 40, warning: 50 };
export const LOG_LEVELS = Object.keys(LEVELS) as readonly LogLevel[];

const STANDARD_ERROR = 2;

export interface LogOptions {
  readonly level: LogLevel;
  /** A path to append to; standard error when it is missing or empty, as with Redis's `logfile ""`. */
  readonly file?: string | undefined;
}

/** The log whose level can be changed while it is in use. */
export interface LevelledLog extends Log {
  level: LogLevel;
}

/** Throws what the operating system says when the file cannot be opened. */
export function createLog(options: LogOptions): LevelledLog {
  const destination = pino.destination({ dest: options.file || STANDARD_ERROR, sync: true });
  // A full disk or a closed pipe costs the line, not the server.
  destination.on('error', () => {});
  const logger = pino(
    {
      level: options.level,
      customLevels: LEVELS,
      useOnlyCustomLevels: true,
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (level) => ({ level }) },
    },
    destination,
  );
  const writer =
    (level: LogLevel) =>
    (event: string, fields?: LogFields): void => {
      if (fields === undefined) logger[level](event);
      else logger[level](fields, event);
    };
  return {
    debug: writer('debug'),
    verbose: writer('verbose'),
    notice: writer('notice'),
    warning: writer('warning'),
    get level() {
      return logger.level as LogLevel;
    },
    set level(level: LogLevel) {
      logger.level = level;
    },
  };
}
