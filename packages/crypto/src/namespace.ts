/**
 * Namespaces: what a signature is about, signed together with the message.
 *
 *   signed bytes = varint(len(namespace)) || namespace || message                                spec consensus §4.12
 *
 * Invariant: a signature made under one namespace verifies under no other, whatever the messages. The length in front
 * makes the split unambiguous; names of different chains and kinds differ because no suffix ends another.
 */
import { ByteWriter, type Codec, Text } from "@coppice/codec"
import type { Ed25519 } from "./ed25519.ts"
import { NAMESPACE_BYTES_MAX } from "./limits.ts"

const NamespaceName: Codec<string> = Text(NAMESPACE_BYTES_MAX)

/** A signing domain: its name, and the bytes that go in front of every message signed in it. */
export interface Namespace {
  readonly name: string
  readonly prefix: Uint8Array
}

/**
 * Declares a namespace, by the form `_COPPICE_<PACKAGE>_<OPERATION>`.
 *
 * Errors: RangeError when the name is empty, longer than `NAMESPACE_BYTES_MAX` bytes, or not well-formed Unicode.
 */
export const createNamespace = (name: string): Namespace => {
  if (name.length === 0) throw new RangeError("namespace: an empty name is outside")
  const writer = new ByteWriter()
  NamespaceName.write(writer, name)
  return { name, prefix: writer.finish() }
}

/** The bytes that are signed for a message in a namespace. */
export const signedBytes = (namespace: Namespace, message: Uint8Array): Uint8Array => {
  const { prefix } = namespace
  const bytes = new Uint8Array(prefix.length + message.length)
  bytes.set(prefix)
  bytes.set(message, prefix.length)
  return bytes
}

/** Signs a message in a namespace. Errors: RangeError when the secret is not 32 bytes. */
export const signMessage = (
  ed25519: Ed25519,
  secret: Uint8Array,
  namespace: Namespace,
  message: Uint8Array,
): Uint8Array => ed25519.sign(secret, signedBytes(namespace, message))

/** Whether a signature of a message holds in a namespace. */
export const verifyMessage = (
  ed25519: Ed25519,
  publicKey: Uint8Array,
  namespace: Namespace,
  message: Uint8Array,
  signature: Uint8Array,
): boolean => ed25519.verify(publicKey, signedBytes(namespace, message), signature)

/** The signing domains of consensus in one network. */
export interface ConsensusNamespaces {
  readonly notarize: Namespace
  readonly nullify: Namespace
  readonly finalize: Namespace
}

/**
 * The signing domains of consensus for a chain id: the only place where their names are declared.
 *
 * Errors: RangeError when the chain id is empty or makes a name longer than `NAMESPACE_BYTES_MAX` bytes.
 */
export const consensusNamespaces = (chainId: string): ConsensusNamespaces => {
  if (chainId.length === 0) throw new RangeError("namespace: an empty chain id is outside")
  const base = `_COPPICE_CONSENSUS_${chainId}`
  return {
    notarize: createNamespace(`${base}_NOTARIZE`),
    nullify: createNamespace(`${base}_NULLIFY`),
    finalize: createNamespace(`${base}_FINALIZE`),
  }
}
