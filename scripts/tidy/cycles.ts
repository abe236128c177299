/** Import cycles: modules that cannot be understood, or tested, one before the other. */
import { type FileView, type Finding, resolveImport } from './rules.ts';

/** One finding per cycle, at the import that closes it. Type imports count as well. */
export function findCycles(files: readonly FileView[]): Finding[] {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const findings: Finding[] = [];
  const done = new Set<string>();
  const trail: string[] = [];

  const visit = (file: FileView): void => {
    trail.push(file.path);
    for (const { specifier, line } of file.imports) {
      const target = byPath.get(resolveImport(file, specifier) ?? '');
      if (target === undefined || done.has(target.path)) continue;
      const start = trail.indexOf(target.path);
      if (start < 0) visit(target);
      else {
        const cycle = [...trail.slice(start), target.path].join(' -> ');
        findings.push({ file: file.path, line, rule: 'cycle', message: cycle });
      }
    }
    trail.pop();
    done.add(file.path);
  };
  for (const file of files) if (!done.has(file.path)) visit(file);
  return findings;
}
