// eslint-disable-next-line no-control-regex -- control characters are what it looks for
const CONTROL_CHARACTER = /[\u0000-\u001f\u007f-\u009f]/;

/**
 * What decoders put in the place of bytes that they cannot read: it says that letters were lost, and ids that differed in
 * them are one.
 */
export const REPLACEMENT_CHARACTER = '\ufffd';

/**
 * Why a text cannot be an id, a name or a label: it has to be 1 to `bytesMax` UTF-8 bytes of well-formed Unicode
 * without control characters and without U+FFFD.
 * @returns a phrase that follows the field's name, or undefined when nothing is wrong.
 */
export function shortTextFault(text: string, bytesMax: number): string | undefined {
  if (text.length === 0 || Buffer.byteLength(text) > bytesMax) return `must be 1 to ${bytesMax} bytes long`;
  if (!text.isWellFormed()) return 'holds an unpaired surrogate';
  if (CONTROL_CHARACTER.test(text)) return 'holds a control character';
  if (text.includes(REPLACEMENT_CHARACTER)) return 'holds U+FFFD, which stands where a letter was lost';
  return undefined;
}
