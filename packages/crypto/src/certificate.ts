/**
 * Attestations and the certificates made of them.
 *
 * Terms: an attestation is one participant's signature of a message in a namespace. A certificate is the signatures of
 * a quorum, with a bitmap that says whose they are. What was signed is not in it: both sides know the message.
 *
 *   attestation  varint(signer) || signature (64)
 *   certificate  be8(n) || bitmap (ceil(n / 8)) || varint(count) || count x signature (64)       spec consensus §4.11
 *                bit i is byte floor(i / 8), mask 1 << (i % 8); signatures in ascending order of signer
 *
 * Invariant (CONS-24): `verifyCertificate` holds only if the certificate is for exactly these participants, at least a
 * quorum of them signed, and every signature in it is valid in the given namespace.
 */
import { Bytes, type Codec, DecodeError } from "@coppice/codec"
import { type Ed25519, SIGNATURE_BYTES } from "./ed25519.ts"
import { PARTICIPANTS_MAX } from "./limits.ts"
import { type Namespace, signedBytes, signMessage, verifyMessage } from "./namespace.ts"
import { type Participants, quorum } from "./participants.ts"

/** One participant's signature of a message; `signer` is its index. */
export interface Attestation {
  readonly signer: number
  readonly signature: Uint8Array
}

/**
 * Signatures of a quorum of `n` participants.
 *
 * Shape: `signers` are indices in ascending order, without repetition; `signatures[i]` is that of `signers[i]`.
 */
export interface Certificate {
  readonly n: number
  readonly signers: ReadonlyArray<number>
  readonly signatures: ReadonlyArray<Uint8Array>
}

const Signature = Bytes(SIGNATURE_BYTES)

const requireCount = (nMax: number): void => {
  if (!Number.isInteger(nMax) || nMax < 1 || nMax > PARTICIPANTS_MAX) {
    throw new RangeError(`participants: ${nMax} is outside 1..${PARTICIPANTS_MAX}`)
  }
}

const isSigner = (signer: number, n: number): boolean => Number.isInteger(signer) && signer >= 0 && signer < n

/** The codec of an attestation by one of at most `nMax` participants. */
export const attestationCodec = (nMax: number): Codec<Attestation> => {
  requireCount(nMax)
  return {
    name: `attestation(${nMax})`,
    size: undefined,
    sizeMax: 2 + SIGNATURE_BYTES,
    write: (writer, { signer, signature }) => {
      if (!isSigner(signer, nMax)) throw new RangeError(`attestation: signer ${signer} is outside`)
      writer.varint(signer)
      Signature.write(writer, signature)
    },
    read: (reader) => ({ signer: reader.varintSafe(nMax - 1), signature: Signature.read(reader) }),
  }
}

/** A participant's attestation of a message in a namespace. Errors: RangeError when the secret is not 32 bytes. */
export const attest = (
  ed25519: Ed25519,
  secret: Uint8Array,
  signer: number,
  namespace: Namespace,
  message: Uint8Array,
): Attestation => ({ signer, signature: signMessage(ed25519, secret, namespace, message) })

/** Whether an attestation is by a participant and its signature holds in the namespace. */
export const verifyAttestation = (
  ed25519: Ed25519,
  participants: Participants,
  namespace: Namespace,
  message: Uint8Array,
  attestation: Attestation,
): boolean => {
  const key = participants.keys[attestation.signer]
  return key !== undefined && verifyMessage(ed25519, key, namespace, message, attestation.signature)
}

/**
 * The certificate of verified attestations, in any order, or undefined when fewer than a quorum of `n` signed.
 *
 * A signer that occurs twice counts once, with its first signature.
 * Errors: RangeError when a signer is not one of `n` or a signature is not 64 bytes.
 */
export const assemble = (attestations: ReadonlyArray<Attestation>, n: number): Certificate | undefined => {
  requireCount(n)
  const bySigner = new Map<number, Uint8Array>()
  for (const { signer, signature } of attestations) {
    if (!isSigner(signer, n)) throw new RangeError(`attestation: signer ${signer} is outside`)
    if (signature.length !== SIGNATURE_BYTES) throw new RangeError(`attestation: ${signature.length} bytes is outside`)
    if (!bySigner.has(signer)) bySigner.set(signer, signature)
  }
  if (bySigner.size < quorum(n)) return undefined
  const signers = [...bySigner.keys()].sort((a, b) => a - b)
  return { n, signers, signatures: signers.map((signer) => bySigner.get(signer)!) }
}

/** Why a certificate is not one, or undefined. The bound for decoded ones and for those built in memory. */
const malformation = ({ n, signers, signatures }: Certificate, nMax: number): string | undefined => {
  if (!Number.isInteger(n) || n < 1 || n > nMax) return "certificate for another number of participants"
  if (signers.length === 0) return "certificate without signers"
  if (signers.length !== signatures.length) return "signature count differs from signer count"
  if (signers.some((signer, i) => !isSigner(signer, n) || (i > 0 && signers[i - 1]! >= signer))) {
    return "signers are not ascending"
  }
  if (signatures.some((signature) => signature.length !== SIGNATURE_BYTES)) return "signature of another length"
  return undefined
}

const signersOf = (bitmap: Uint8Array): number[] => {
  const signers: number[] = []
  for (let i = 0; i < bitmap.length * 8; i++) if ((bitmap[i >>> 3]! & (1 << (i & 7))) !== 0) signers.push(i)
  return signers
}

/**
 * The codec of certificates for at most `nMax` participants.
 *
 * Errors: reading refuses a bitmap longer than `nMax`, unused bits that are set, no signers, and a signature count that
 * differs from the bits set. It does not know the participants: that is `verifyCertificate`.
 */
export const certificateCodec = (nMax: number): Codec<Certificate> => {
  requireCount(nMax)
  return {
    name: `certificate(${nMax})`,
    size: undefined,
    sizeMax: 8 + Math.ceil(nMax / 8) + 2 + nMax * SIGNATURE_BYTES,
    write: (writer, certificate) => {
      const fault = malformation(certificate, nMax)
      if (fault !== undefined) throw new RangeError(`certificate: ${fault}`)
      const bitmap = new Uint8Array(Math.ceil(certificate.n / 8))
      for (const signer of certificate.signers) bitmap[signer >>> 3]! |= 1 << (signer & 7)
      writer.be64(certificate.n).raw(bitmap).varint(certificate.signers.length)
      for (const signature of certificate.signatures) writer.raw(signature)
    },
    read: (reader) => {
      const at = reader.offset
      const n = reader.be64Safe()
      if (n > nMax) throw new DecodeError("bitmap above its limit", at)
      const signers = signersOf(reader.raw(Math.ceil(n / 8)))
      if (signers.length === 0) throw new DecodeError("certificate without signers", at)
      if (signers.at(-1)! >= n) throw new DecodeError("unused bits of the bitmap are set", at)
      const countAt = reader.offset
      if (reader.varintSafe(nMax) !== signers.length) {
        throw new DecodeError("signature count differs from signer count", countAt)
      }
      return { n, signers, signatures: signers.map(() => Signature.read(reader)) }
    },
  }
}

/**
 * Whether a certificate proves that a quorum of the participants signed the message in the namespace (CONS-24).
 *
 * Cost: one signature check per signer, after the checks that need none.
 */
export const verifyCertificate = (
  ed25519: Ed25519,
  participants: Participants,
  namespace: Namespace,
  message: Uint8Array,
  certificate: Certificate,
): boolean => {
  if (malformation(certificate, participants.n) !== undefined) return false
  if (certificate.n !== participants.n || certificate.signers.length < participants.quorum) return false
  const signed = signedBytes(namespace, message)
  return certificate.signers.every((signer, i) =>
    ed25519.verify(participants.keys[signer]!, signed, certificate.signatures[i]!),
  )
}
