/** `BulkFiles` in memory, for tests. */
import {
  BulkFileError,
  type BulkFiles,
  type BulkReader,
  type BulkStat,
  type BulkWriter,
} from '../../src/lib/bulk.ts';

export class MemoryFiles implements BulkFiles {
  readonly #files = new Map<string, Uint8Array>();
  readonly #directories = new Set<string>();
  #changes = 0;
  #open = 0;
  /** The most files that were open for reading at a time. */
  openMax = 0;
  readonly #changedMs = new Map<string, number>();

  get paths(): string[] {
    return [...this.#files.keys()].sort();
  }

  content(path: string): Uint8Array | undefined {
    return this.#files.get(path);
  }

  put(path: string, content: Uint8Array): void {
    this.#files.set(path, content);
    this.#changedMs.set(path, ++this.#changes);
  }

  open(path: string): BulkReader {
    const content = this.#files.get(path);
    if (content === undefined)
      throw new BulkFileError(path, 'ENOENT', `cannot read ${path}: there is no such file`);
    this.openMax = Math.max(this.openMax, ++this.#open);
    return {
      bytes: content.length,
      read: (target, offset, length, position) => {
        const part = content.subarray(position, position + length);
        target.set(part, offset);
        return part.length;
      },
      close: () => {
        this.#open--;
      },
    };
  }

  create(path: string): BulkWriter {
    this.put(path, new Uint8Array(0));
    const chunks: Uint8Array[] = [];
    const keep = (): void => this.put(path, Buffer.concat(chunks));
    return {
      write: (chunk) => {
        chunks.push(Uint8Array.from(chunk));
      },
      sync: keep,
      close: keep,
    };
  }

  rename(from: string, to: string): void {
    const content = this.#files.get(from);
    if (content === undefined) return this.#renameDirectory(from, to);
    this.#files.delete(from);
    this.put(to, content);
  }

  #renameDirectory(from: string, to: string): void {
    if (this.stat(from) === undefined) throw new BulkFileError(to, 'ENOENT', `cannot rename ${from}`);
    if (this.list(to).length > 0)
      throw new BulkFileError(to, 'ENOTEMPTY', `cannot rename ${from}: ${to} is not empty`);
    this.#directories.delete(from);
    this.#directories.add(to);
    for (const path of this.paths.filter((each) => each.startsWith(`${from}/`))) {
      this.rename(path, to + path.slice(from.length));
    }
  }

  remove(path: string): void {
    this.#files.delete(path);
  }

  makeDirectory(path: string): void {
    this.#directories.add(path);
  }

  removeDirectory(path: string): void {
    this.#directories.delete(path);
    for (const name of this.paths) if (name.startsWith(`${path}/`)) this.#files.delete(name);
  }

  stat(path: string): BulkStat | undefined {
    const content = this.#files.get(path);
    if (content !== undefined) {
      return { kind: 'file', bytes: content.length, modifiedMs: this.#changedMs.get(path)! };
    }
    const isDirectory = this.#directories.has(path) || this.paths.some((name) => name.startsWith(`${path}/`));
    return isDirectory ? { kind: 'directory', bytes: 0, modifiedMs: 0 } : undefined;
  }

  list(path: string): string[] {
    const inside = this.paths
      .filter((name) => name.startsWith(`${path}/`))
      .map((name) => name.slice(path.length + 1));
    return [...new Set(inside.map((name) => name.split('/')[0]!))].sort();
  }
}
