/** Databases whose keys are in no order. */
import type { KeyedReader } from "../keyed-reader.ts"
import { KeyedBatch } from "./keyed-batch.ts"
import type { KeyedKind } from "./keyed-family.ts"
import { KeyedStateReader } from "./keyed-state-reader.ts"
import { sealUnordered } from "./seal-unordered.ts"

/** See the head of this file. */
export const unordered = <K, V>(): KeyedKind<K, V, KeyedBatch<K, V>, KeyedReader<K, V>> => ({
  seal: sealUnordered,
  batchOver: (index, parent) => new KeyedBatch(index, parent),
  readerOf: (index) => new KeyedStateReader(index),
})
