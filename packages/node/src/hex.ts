/** Bytes as lower-case hex: how people and JSON see them. */

/** Hex of some bytes. */
export const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex")

/** Bytes of lower-case hex; undefined when the text is not exactly that. */
export const fromHex = (text: string): Uint8Array | undefined => {
  if (text.length % 2 !== 0 || !/^[0-9a-f]*$/.test(text)) return undefined
  return new Uint8Array(Buffer.from(text, "hex"))
}
