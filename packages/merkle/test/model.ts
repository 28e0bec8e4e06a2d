/**
 * Goal: a second opinion on the format that shares no arithmetic and no code with the package.
 * Method: grow a tree leaf by leaf by its merge rule alone. An MMR merges the two youngest peaks while they are equally
 * high; an MMB merges, once per leaf, the youngest pair of neighbours that are equally high. Digests come from Node.
 */
import { createHash } from "node:crypto"
import { readFileSync } from "node:fs"
import type { FamilyName } from "../src/index.ts"

export interface ModelNode {
  readonly start: number
  readonly height: number
  readonly position: number
  readonly birth: number
  readonly digest: Uint8Array
}

export const sha256 = (...parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  const hash = createHash("sha256")
  for (const part of parts) hash.update(part)
  return new Uint8Array(hash.digest())
}

export const be8 = (n: number): Uint8Array => {
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(n))
  return bytes
}

/** Element `i` of every published vector. */
export const element = (i: number): Uint8Array => sha256(be8(i))

export const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex")
export const unhex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "hex"))

const pairToMerge = (name: FamilyName, peaks: ReadonlyArray<ModelNode>): number => {
  for (let i = peaks.length - 2; i >= 0; i--) {
    if (peaks[i]!.height === peaks[i + 1]!.height) return i
    if (name === "mmr") return -1
  }
  return -1
}

/** A tree that grows. `nodes` holds what was appended since it began, in order of position. */
export interface Model {
  readonly nodes: Array<ModelNode>
  readonly peaks: Array<ModelNode>
  leaves: number
  size: number
}

export const emptyModel = (): Model => ({ nodes: [], peaks: [], leaves: 0, size: 0 })

export const growModel = (name: FamilyName, model: Model, bytes: Uint8Array): void => {
  const { peaks, nodes } = model
  const birth = model.leaves + 1
  const place = (node: ModelNode): ModelNode => {
    nodes.push(node)
    model.size++
    return node
  }
  peaks.push(
    place({ start: model.leaves, height: 0, position: model.size, birth, digest: sha256(be8(model.size), bytes) }),
  )
  for (let i = pairToMerge(name, peaks); i >= 0; i = name === "mmr" ? pairToMerge(name, peaks) : -1) {
    const [left, right] = [peaks[i]!, peaks[i + 1]!]
    const digest = sha256(be8(model.size), left.digest, right.digest)
    peaks.splice(i, 2, place({ start: left.start, height: left.height + 1, position: model.size, birth, digest }))
  }
  model.leaves++
}

/** The tree over the published elements. */
export const modelTree = (name: FamilyName, leaves: number): Model => {
  const model = emptyModel()
  for (let i = 0; i < leaves; i++) growModel(name, model, element(i))
  return model
}

/** Section 5 of the specification, word by word. */
export const modelRoot = (model: Model, inactive: number, bagging: "forward" | "backward"): Uint8Array => {
  const digests = model.peaks.map((peak) => peak.digest)
  if (digests.length === 0) return sha256(be8(0))
  let acc = digests[0]!
  for (let i = 1; i < inactive; i++) acc = sha256(acc, digests[i]!)
  const rest = [acc, ...digests.slice(Math.max(inactive, 1))]
  let body = bagging === "forward" ? rest[0]! : rest.at(-1)!
  if (bagging === "forward") for (let i = 1; i < rest.length; i++) body = sha256(body, rest[i]!)
  else for (let i = rest.length - 2; i >= 0; i--) body = sha256(rest[i]!, body)
  return inactive === 0 ? sha256(be8(model.leaves), body) : sha256(be8(model.leaves), be8(inactive), body)
}

/** A published file of vectors. */
export const vectors = (file: string): unknown =>
  JSON.parse(readFileSync(new URL(`../../../conformance/vectors/${file}`, import.meta.url), "utf8"))
