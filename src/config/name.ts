/** The form of a server's name, which appears in lists with commas and in paths. */
export const NAME_FORM = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
