/**
 * A chain without state, for tests of everything around execution: blocks with a salt, four validators, real certificates.
 *
 * Invariant: equal arguments give equal blocks and certificates.
 */
import { ByteWriter, bytesKey } from "@coppice/codec"
import {
  attestFinalization,
  type Block,
  type BlockCodec,
  type ConsensusContext,
  contextCodec,
  type Finalization,
  Height,
  type Proposal,
  Round,
  View,
} from "@coppice/consensus"
import { assemble, createParticipants, DIGEST_BYTES, keyPairFromSeed, nobleHasher } from "@coppice/crypto"
import { nodeEd25519 } from "@coppice/crypto/node"

/** A block that says nothing but a number. */
export interface TestBlock extends Block {
  readonly salt: number
}

/** Its chain id. */
export const CHAIN = "test-chain"
/** Longest block in bytes. */
export const BLOCK_BYTES_MAX = 256
/** What signs and verifies. */
export const ed25519 = nodeEd25519

/** The keys of four validators, in no particular order. */
export const validators = Array.from({ length: 4 }, (_, i) => keyPairFromSeed(ed25519, new Uint8Array(32).fill(i + 1)))
/** The validators as participants. */
export const participants = createParticipants(validators.map(({ publicKey }) => publicKey))

type Content = Omit<TestBlock, "digest">

const write = (writer: ByteWriter, { height, parent, context, salt }: Content): void => {
  writer.varint(height).raw(parent)
  contextCodec.write(writer, context)
  writer.varint(salt)
}

/** The block of a content. */
export const sealBlock = (content: Content): TestBlock => {
  const writer = new ByteWriter()
  write(writer, content)
  return { ...content, digest: nobleHasher.hash(writer.finish()) }
}

/** Encoding of blocks. */
export const blockCodec: BlockCodec<TestBlock> = {
  bytesMax: BLOCK_BYTES_MAX,
  write,
  read: (reader) =>
    sealBlock({
      height: Height(reader.varintSafe()),
      parent: reader.raw(DIGEST_BYTES),
      context: contextCodec.read(reader),
      salt: reader.varintSafe(),
    }),
}

const NOBODY = new Uint8Array(32)

/** The first block. */
export const genesis = sealBlock({
  height: Height(0),
  parent: new Uint8Array(DIGEST_BYTES),
  context: { round: Round(0, 0), leader: NOBODY, parent: { view: View(0), digest: new Uint8Array(DIGEST_BYTES) } },
  salt: 0,
})

/** Context of an attempt in a view to build on a block. */
export const contextOn = (parent: TestBlock, view: number): ConsensusContext => ({
  round: Round(0, view),
  leader: validators[view % validators.length]!.publicKey,
  parent: { view: parent.context.round.view, digest: parent.digest },
})

/** A child of a block, made in a view. */
export const childOf = (parent: TestBlock, view: number, salt = 0): TestBlock =>
  sealBlock({ height: Height(parent.height + 1), parent: parent.digest, context: contextOn(parent, view), salt })

/** `length` blocks on `parent`, one per view from `view` on. */
export const chainOn = (parent: TestBlock, view: number, length: number): ReadonlyArray<TestBlock> => {
  const blocks: Array<TestBlock> = []
  for (let i = 0; i < length; i++) blocks.push(childOf(blocks.at(-1) ?? parent, view + i))
  return blocks
}

/** What is voted on when a block is proposed in its own round. */
export const proposalOf = (block: TestBlock): Proposal => ({
  round: block.context.round,
  parentView: block.context.parent.view,
  payload: block.digest,
})

/** A certificate of a proposal by the given validators. */
export const certify = (
  proposal: Proposal,
  signers: ReadonlyArray<number> = [0, 1, 2],
  chainId = CHAIN,
): Finalization => {
  const attestations = signers.map((i) => {
    const { secret, publicKey } = validators[i]!
    return attestFinalization(ed25519, secret, participants.indexOf(publicKey)!, chainId, proposal)
  })
  return { proposal, certificate: assemble(attestations, participants.n)! }
}

const finalizations = new Map<string, Finalization>()

/** The finalization of a block in its own round, signed once. */
export const finalize = (block: TestBlock): Finalization => {
  const key = bytesKey(block.digest)
  const finalization = finalizations.get(key) ?? certify(proposalOf(block))
  finalizations.set(key, finalization)
  return finalization
}
