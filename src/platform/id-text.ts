import { REPLACEMENT_CHARACTER } from './short-text.ts';

export const ID_BYTES_MAX = 255;

/** Why a text cannot be an id: `phrase` follows the name of its field. */
export interface IdFault {
  readonly code: 'text_blank_around' | 'text_replacement_character' | 'id_is_path';
  readonly phrase: string;
}

/**
 * What nobody sees at the end of a text: the white space of Unicode, and the characters without width that editors,
 * spreadsheets and chat programs leave behind. (Control characters are refused everywhere.)
 */
const BLANK = '\\s\\u0085\\u00ad\\u180e\\u200b\\u200e\\u200f\\u2060\\ufeff';
const BLANK_AROUND = new RegExp(`^[${BLANK}]|[${BLANK}]$`);

/**
 * Checks what only ids have to obey, new ones: two ids that look alike are two customers, or one event counted twice.
 * Ids that were stored before a rule existed are read as they are.
 */
export function idFault(id: string): IdFault | undefined {
  if (isPlain(id.charCodeAt(0)) && isPlain(id.charCodeAt(id.length - 1)) && !id.includes(REPLACEMENT_CHARACTER)) {
    return undefined;
  }
  if (id === '.' || id === '..') {
    return { code: 'id_is_path', phrase: 'cannot be "." or "..": those mean folders in an address' };
  }
  const blank = BLANK_AROUND.exec(id)?.[0];
  if (blank !== undefined) {
    const phrase = `begins or ends with ${codePoint(blank)}, which nobody sees; remove it at its source`;
    return { code: 'text_blank_around', phrase };
  }
  if (!id.includes(REPLACEMENT_CHARACTER)) return undefined;
  return {
    code: 'text_replacement_character',
    phrase: 'holds U+FFFD, which stands where a letter was lost; correct the encoding at its source',
  };
}

/** Whether a character (of well-formed text) is nothing that `idFault` looks for at an end: most are, so this is fast. */
function isPlain(code: number): boolean {
  return code > 0x2e && code < 0x7f;
}

function codePoint(character: string): string {
  return `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}`;
}
