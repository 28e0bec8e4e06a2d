/**
 * The validators of one epoch, as an ordered set of public keys.
 *
 * Terms: the index of a participant is its place in the order of the key bytes; it names the participant on the wire.
 * A quorum is the least number of them such that any two quorums share an honest one while at most
 * f = floor((n - 1) / 3) are faulty.
 *
 * Invariant: two nodes with the same set of keys derive the same indices, whatever order they were given in.
 */
import { Bytes, bytesKey, type Codec, compareBytes, DecodeError, List } from "@coppice/codec"
import { PUBLIC_KEY_BYTES } from "./ed25519.ts"
import { PARTICIPANTS_MAX } from "./limits.ts"

/** Votes that certify among `n` participants: n - floor((n - 1) / 3) (CONS-23). Errors: RangeError when `n` is not 1 or more. */
export const quorum = (n: number): number => {
  if (!Number.isSafeInteger(n) || n < 1) throw new RangeError(`participants: ${n} is outside`)
  return n - Math.floor((n - 1) / 3)
}

/** An ordered set of 1 to `PARTICIPANTS_MAX` Ed25519 public keys. */
export interface Participants {
  /** How many there are. */
  readonly n: number
  /** Votes that certify: `quorum(n)`. */
  readonly quorum: number
  /** The keys in order; the place of a key is its index. */
  readonly keys: ReadonlyArray<Uint8Array>
  /** The index of a key, or undefined when it is no participant. */
  readonly indexOf: (publicKey: Uint8Array) => number | undefined
}

/**
 * The ordered set of the given keys, which are copied.
 *
 * Errors: RangeError when there are none or more than `PARTICIPANTS_MAX`, when one is not 32 bytes, or when two are equal.
 */
export const createParticipants = (publicKeys: ReadonlyArray<Uint8Array>): Participants => {
  const n = publicKeys.length
  if (n < 1 || n > PARTICIPANTS_MAX) throw new RangeError(`participants: ${n} is outside 1..${PARTICIPANTS_MAX}`)
  const keys = publicKeys.map((key) => new Uint8Array(key)).sort(compareBytes)
  const indices = new Map<string, number>()
  keys.forEach((key, index) => {
    if (key.length !== PUBLIC_KEY_BYTES) throw new RangeError(`participants: a key of ${key.length} bytes is outside`)
    indices.set(bytesKey(key), index)
  })
  if (indices.size !== n) throw new RangeError("participants: a key occurs twice")
  return { n, quorum: quorum(n), keys, indexOf: (publicKey) => indices.get(bytesKey(publicKey)) }
}

const KeyList = List(Bytes(PUBLIC_KEY_BYTES), PARTICIPANTS_MAX)

/** A set of participants as the list of its keys. Refuses an empty list and keys that are not in strictly ascending order. */
export const ParticipantsCodec: Codec<Participants> = {
  name: "participants",
  size: undefined,
  sizeMax: KeyList.sizeMax,
  write: (writer, value) => KeyList.write(writer, value.keys),
  read: (reader) => {
    const at = reader.offset
    const keys = KeyList.read(reader)
    if (keys.length === 0) throw new DecodeError("no participants", at)
    for (let i = 1; i < keys.length; i++) {
      if (compareBytes(keys[i - 1]!, keys[i]!) >= 0)
        throw new DecodeError("participants are not in ascending order", at)
    }
    return createParticipants(keys)
  },
}
