/**
 * Descriptions of `current` databases with chunks of any size: the public one takes those that a real database may have.
 */
import { keyedFormat } from "@coppice/verify"
import { grafting } from "@coppice/verify/grafting"
import type { AnyOptions } from "../any.ts"
import type { CurrentReader } from "../current-reader.ts"
import type { MemberSpec } from "../member.ts"
import { currentFamily } from "./current-family.ts"
import type { KeyedBatch } from "./keyed-batch.ts"
import { logSpec } from "./log-spec.ts"
import { unordered } from "./unordered.ts"

/** The description of a `current` database. Throws `RangeError` on a chunk size that is no power of two. */
export const currentSpec = <K, V>(
  options: AnyOptions<K, V>,
  chunkBytes: number,
): MemberSpec<KeyedBatch<K, V>, CurrentReader<K, V>> => {
  const { key, value } = options
  const format = keyedFormat(options)
  const graft = grafting(format.family, chunkBytes)
  const name = `current/unordered/${format.family.name}/${format.encoding}/${chunkBytes}/${key.name}/${value.name}`
  return logSpec(name, currentFamily(format, unordered<K, V>(), graft))
}
