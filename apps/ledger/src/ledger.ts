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
import {
  Application,
  type Batches,
  Mempool,
  type Rejection,
  reject,
  type StandardApplication,
  type StandardBlock,
} from "@coppice/stateful"
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
 * Ids of transfers whose signatures hold, newest kept. A transfer is checked at submission, when proposed and when
 * verified, and the check costs more than all else it does; it is pure, so what held once holds.
 */
class KnownSignatures {
  readonly #known = new Set<string>()

  check(id: string, decide: () => boolean): boolean {
    if (this.#known.has(id)) return true
    if (!decide()) return false
    for (const oldest of this.#known) {
      if (this.#known.size < SIGNATURES_KNOWN_MAX) break
      this.#known.delete(oldest)
    }
    this.#known.add(id)
    return true
  }
}

/** Why a transfer cannot happen to its sender's account. */
export type Refusal =
  | { readonly error: "WrongNonce"; readonly message: string; readonly expected: bigint; readonly actual: bigint }
  | { readonly error: "ShortBalance"; readonly message: string; readonly available: bigint; readonly amount: bigint }

/** Whether a transfer can happen to its sender's account: undefined, or why not. */
export const refusal = ({ nonce, amount }: Transfer, sender: Account): Refusal | undefined => {
  if (nonce !== sender.nonce) {
    const message = `the sender's next nonce is ${sender.nonce}`
    return { error: "WrongNonce", message, expected: sender.nonce, actual: nonce }
  }
  if (amount > sender.balance) {
    const message = `the sender has ${sender.balance} left`
    return { error: "ShortBalance", message, available: sender.balance, amount }
  }
  return undefined
}

/** What the state has no part in. */
interface TransferChecks {
  readonly idOf: (transfer: Transfer) => Digest
  readonly isSigned: (transfer: Transfer) => boolean
}

/** A ledger chain: its application, and what one needs to submit to it. */
export interface Ledger extends TransferChecks {
  readonly chainId: string
  readonly application: StandardApplication<Transfer, LedgerDatabases>
  /** A mempool for one node: transfers of an account keep their order. */
  readonly mempool: () => Mempool<Transfer>
}

const checkAllocations = (allocations: ReadonlyArray<Allocation>): void => {
  if (allocations.length > ALLOCATIONS_MAX) throw new RangeError(`more than ${ALLOCATIONS_MAX} allocations`)
  const seen = new Set(allocations.map(({ address }) => bytesKey(address)))
  if (seen.size !== allocations.length) throw new RangeError("an address is allocated twice")
  if (allocations.some(({ balance }) => balance < 0n)) throw new RangeError("an allocation is below 0")
  const sum = allocations.reduce((total, { balance }) => total + balance, 0n)
  if (sum >= 1n << 64n) throw new RangeError(`allocations sum to ${sum}, at most 2^64 - 1 is allowed`)
}

const execute = (
  { accounts, receipts }: Batches<LedgerDatabases>,
  transfer: Transfer,
  height: bigint,
  { idOf, isSigned }: TransferChecks,
): Rejection | undefined => {
  if (!isSigned(transfer)) return reject("bad signature")
  const { from, to, amount, nonce } = transfer
  const sender = accounts.get(from) ?? EMPTY_ACCOUNT
  const refused = refusal(transfer, sender)
  if (refused !== undefined) return reject(refused.message)
  accounts.put(from, { balance: sender.balance - amount, nonce: nonce + 1n })
  // Read after the sender was written: it may be the same account.
  const receiver = accounts.get(to) ?? EMPTY_ACCOUNT
  accounts.put(to, { ...receiver, balance: receiver.balance + amount })
  receipts.put(idOf(transfer), { height, from, to, amount, nonce })
  return undefined
}

/** Makes a ledger chain. Errors: RangeError for allocations outside their bounds. */
export const makeLedger = (options: LedgerOptions): Ledger => {
  const { chainId, allocations, ed25519 = portableEd25519, hasher = nobleHasher } = options
  checkAllocations(allocations)
  const namespace = transferNamespace(chainId)
  const known = new KnownSignatures()
  const idOf = (transfer: Transfer): Digest => transferId(hasher, transfer)
  const checks: TransferChecks = {
    idOf,
    isSigned: (transfer) => known.check(bytesKey(idOf(transfer)), () => isSigned(ed25519, namespace, transfer)),
  }
  const application = Application.make({
    name: "ledger",
    databases: ledgerDatabases,
    transaction: TransferCodec,
    hasher,
    begin: ({ accounts }, { height }) => {
      if (height !== 1) return
      for (const { address, balance } of allocations) accounts.put(address, { balance, nonce: 0n })
    },
    execute: (batches, transfer, { height }) => execute(batches, transfer, BigInt(height), checks),
  })
  const mempool = () => new Mempool({ transaction: TransferCodec, sender: ({ from }) => senderKey(from), hasher })
  return { chainId, application, ...checks, mempool }
}
