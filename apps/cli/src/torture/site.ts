/** What the killed process and the one that checks it agree on. */

/** Name of the tortured chain. */
export const CHAIN_ID = "torture"

/** Key of its only validator: nothing depends on its secrecy. */
export const TORTURE_SECRET = new Uint8Array(32).fill(0x2a)
