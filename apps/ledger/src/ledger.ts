/**
 * The ledger: accounts that send each other amounts.
 *
 *   accounts   address -> { balance, nonce }         receipts   transfer id -> { height, from, to, amount, nonce }
 *
 * Terms: an *allocation* is a balance that exists from height 1 on; allocations are part of what a chain is.
 *
 * Invariant: the sum of all balances is the sum of all allocations; each executed transfer leaves one receipt.
 */
import { Bytes, bytesKey, type Codec, Struct, U64 } from "@coppice/codec"
import { type Digest, type Ed25519, type Hasher, nobleHasher, PUBLIC_KEY_BYTES, portableEd25519 } from "@coppice/crypto"
import { Qmdb } from "@coppice/qmdb"
import { Application, type Batches, Mempool, type Rejection, reject, type StandardBlock } from "@coppice/stateful"
import { ALLOCATIONS_MAX, SIGNATURES_KNOWN_MAX } from "./limits.ts"
import { isSigned, type Transfer, TransferCodec, transferId, transferNamespace } from "./transfer.ts"

/** An account. One that was never paid has balance 0 and nonce 0 and is not stored. */
export interface Account {
  readonly balance: bigint
  readonly nonce: bigint
}

/** What an executed transfer leaves behind. */
export interface Receipt {
  readonly height: bigint
  readonly from: Uint8Array
  readonly to: Uint8Array
  readonly amount: bigint
  readonly nonce: bigint
}

/** Stored form of an account. */
export const AccountCodec: Codec<Account> = Struct({ balance: U64, nonce: U64 })

/** Stored form of a receipt. */
export const ReceiptCodec: Codec<Receipt> = Struct({
  height: U64,
  from: Bytes(PUBLIC_KEY_BYTES),
  to: Bytes(PUBLIC_KEY_BYTES),
  amount: U64,
  nonce: U64,
})

/** The members of the ledger's set, in the order that block headers have them. */
export const ledgerDatabases = {
  accounts: Qmdb.any({ key: Bytes(PUBLIC_KEY_BYTES), value: AccountCodec }),
  receipts: Qmdb.any({ key: Bytes(32), value: ReceiptCodec }),
} as const

/** The members by name. */
export type LedgerDatabases = typeof ledgerDatabases

/** A block of the ledger. */
export type LedgerBlock = StandardBlock<Transfer, LedgerDatabases>

/** A balance that exists from height 1 on. */
export interface Allocation {
  readonly address: Uint8Array
  readonly balance: bigint
}

/** What a ledger chain is made of. */
export interface LedgerOptions {
  readonly chainId: string
  /** At most `ALLOCATIONS_MAX`, each address once; their sum is below 2^64. */
  readonly allocations: ReadonlyArray<Allocation>
  readonly ed25519?: Ed25519
  readonly hasher?: Hasher
}

/** The account that nothing was ever stored for. */
export const EMPTY_ACCOUNT: Account = { balance: 0n, nonce: 0n }

/** How a mempool names the sender of a transfer. */
export const senderKey = (address: Uint8Array): string => bytesKey(address)

/**
 * Answers of the signature check by transfer id, newest kept. The check is pure, so an answer never changes; a transfer is
 * checked at submission, when proposed and when verified, and costs more than all else it does.
 */
class KnownSignatures {
  readonly #known = new Map<string, boolean>()

  check(id: string, decide: () => boolean): boolean {
    const known = this.#known.get(id)
    if (known !== undefined) return known
    const answer = decide()
    if (this.#known.size >= SIGNATURES_KNOWN_MAX) this.#known.delete(this.#known.keys().next().value!)
    this.#known.set(id, answer)
    return answer
  }
}

/** Why a transfer cannot happen in a state; undefined when it can. */
export const refusal = (transfer: Transfer, sender: Account): string | undefined => {
  if (transfer.nonce !== sender.nonce) return `wrong nonce: expected ${sender.nonce}, got ${transfer.nonce}`
  if (transfer.amount > sender.balance) return `short balance: ${sender.balance} is less than ${transfer.amount}`
  return undefined
}

/** A ledger chain: its application, and what one needs to submit to it. */
export interface Ledger {
  readonly chainId: string
  readonly application: ReturnType<typeof makeApplication>
  readonly idOf: (transfer: Transfer) => Digest
  readonly isSigned: (transfer: Transfer) => boolean
  /** A mempool for one node: transfers of an account keep their order. */
  readonly mempool: () => Mempool<Transfer>
}

const checkAllocations = (allocations: ReadonlyArray<Allocation>): void => {
  if (allocations.length > ALLOCATIONS_MAX) throw new RangeError(`more than ${ALLOCATIONS_MAX} allocations`)
  const seen = new Set(allocations.map(({ address }) => bytesKey(address)))
  if (seen.size !== allocations.length) throw new RangeError("an address is allocated twice")
  const sum = allocations.reduce((total, { balance }) => total + balance, 0n)
  if (sum >= 1n << 64n) throw new RangeError(`allocations sum to ${sum}, at most 2^64 - 1 is allowed`)
}

const makeApplication = (
  options: LedgerOptions,
  checks: { readonly idOf: (transfer: Transfer) => Digest; readonly isSigned: (transfer: Transfer) => boolean },
) =>
  Application.make({
    name: "ledger",
    databases: ledgerDatabases,
    transaction: TransferCodec,
    hasher: options.hasher ?? nobleHasher,
    begin: ({ accounts }, { height }) => {
      if (height !== 1) return
      for (const { address, balance } of options.allocations) accounts.put(address, { balance, nonce: 0n })
    },
    execute: (batches, transfer, { height }) => execute(batches, transfer, BigInt(height), checks),
  })

const execute = (
  { accounts, receipts }: Batches<LedgerDatabases>,
  transfer: Transfer,
  height: bigint,
  checks: { readonly idOf: (transfer: Transfer) => Digest; readonly isSigned: (transfer: Transfer) => boolean },
): Rejection | undefined => {
  if (!checks.isSigned(transfer)) return reject("bad signature")
  const { from, to, amount, nonce } = transfer
  const sender = accounts.get(from) ?? EMPTY_ACCOUNT
  const why = refusal(transfer, sender)
  if (why !== undefined) return reject(why)
  accounts.put(from, { balance: sender.balance - amount, nonce: nonce + 1n })
  const receiver = accounts.get(to) ?? EMPTY_ACCOUNT
  accounts.put(to, { ...receiver, balance: receiver.balance + amount })
  receipts.put(checks.idOf(transfer), { height, from, to, amount, nonce })
  return undefined
}

/** Makes a ledger chain. Errors: RangeError for allocations outside their bounds. */
export const makeLedger = (options: LedgerOptions): Ledger => {
  const { chainId, ed25519 = portableEd25519, hasher = nobleHasher } = options
  checkAllocations(options.allocations)
  const namespace = transferNamespace(chainId)
  const known = new KnownSignatures()
  const idOf = (transfer: Transfer): Digest => transferId(hasher, transfer)
  const signed = (transfer: Transfer): boolean =>
    known.check(bytesKey(idOf(transfer)), () => isSigned(ed25519, namespace, transfer))
  return {
    chainId,
    application: makeApplication(options, { idOf, isSigned: signed }),
    idOf,
    isSigned: signed,
    mempool: () => new Mempool({ transaction: TransferCodec, sender: ({ from }) => senderKey(from), hasher }),
  }
}
