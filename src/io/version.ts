/** The version of this program, as package.json gives it; the build puts it here. */

declare const HSTORE_VERSION: string | undefined;

export const VERSION = typeof HSTORE_VERSION === 'string' ? HSTORE_VERSION : '0.0.0-source';
