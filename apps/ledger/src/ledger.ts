/**
 * The ledger: accounts that send each other amounts.
 *
 *   transfer --> accounts: sender, receiver      receipts: what it left, appended      transfers: id -> it and its receipt
 *
 * Terms: an *allocation* is a balance that exists from height 1 on; allocations are part of what a chain is. Receipts and
 * transfers are *kept* as long as they are among the newest operations of their log; those below its floor are forgotten.
 *
 * Invariant: the sum of all balances is the sum of all allocations; each executed transfer leaves one receipt. A transfer
 * happens once, also after it was forgotten: its nonce is used up.
 */
import { Bytes, bytesEqual, bytesKey, compareBytes, encode, List, Struct, U64, Varint } from "@coppice/codec"
import { type Digest, type Ed25519, type Hasher, nobleHasher, PUBLIC_KEY_BYTES, portableEd25519 } from "@coppice/crypto"
import { Location } from "@coppice/merkle"
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
import { ALLOCATIONS_MAX, LOG_OPERATIONS_KEPT, SIGNATURES_KNOWN_MAX } from "./limits.ts"
import { ACCOUNTS, type Account, EMPTY_ACCOUNT, RECEIPTS, TRANSFERS } from "./state.ts"
import { isSigned, type Transfer, TransferCodec, transferId, transferNamespace } from "./transfer.ts"

/** The members of the ledger's set, in the order that block headers have them. */
export const ledgerDatabases = {
  accounts: Qmdb.current(ACCOUNTS),
  receipts: Qmdb.keyless(RECEIPTS),
  transfers: Qmdb.immutable(TRANSFERS),
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
  /** Newest operations of receipts and of transfers that are kept; part of the chain. `LOG_OPERATIONS_KEPT` when not given. */
  readonly logOperationsKept?: number
  readonly ed25519?: Ed25519
  readonly hasher?: Hasher
}

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

const originCodec = Struct({
  logOperationsKept: Varint,
  allocations: List(Struct({ address: Bytes(PUBLIC_KEY_BYTES), balance: U64 }), ALLOCATIONS_MAX),
})

/** What a chain begins with: the same for allocations in any order. */
const originOf = (allocations: ReadonlyArray<Allocation>, logOperationsKept: number): Uint8Array =>
  encode(originCodec, {
    logOperationsKept,
    allocations: allocations.toSorted((a, b) => compareBytes(a.address, b.address)),
  })

const execute = (
  { accounts, receipts, transfers }: Batches<LedgerDatabases>,
  transfer: Transfer,
  height: bigint,
  { idOf, isSigned }: TransferChecks,
): Rejection | undefined => {
  if (!isSigned(transfer)) return reject("bad signature")
  const { from, to, amount, nonce } = transfer
  const sender = accounts.get(from) ?? EMPTY_ACCOUNT
  const refused = refusal(transfer, sender)
  if (refused !== undefined) return reject(refused.message)
  const left = { balance: sender.balance - amount, nonce: nonce + 1n }
  accounts.put(from, left)
  // Read after the sender was written: it may be the same account.
  const receiver = accounts.get(to) ?? EMPTY_ACCOUNT
  const paid = { ...receiver, balance: receiver.balance + amount }
  accounts.put(to, paid)
  const senderBalance = bytesEqual(from, to) ? paid.balance : left.balance
  const id = idOf(transfer)
  const receipt = receipts.append({ transfer: id, height, senderBalance, receiverBalance: paid.balance })
  transfers.set(id, { transfer, receipt })
  return undefined
}

/** Makes a ledger chain. Errors: RangeError for allocations outside their bounds. */
export const makeLedger = (options: LedgerOptions): Ledger => {
  const { chainId, allocations, ed25519 = portableEd25519, hasher = nobleHasher } = options
  const { logOperationsKept = LOG_OPERATIONS_KEPT } = options
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
    origin: originOf(allocations, logOperationsKept),
    begin: ({ accounts, receipts, transfers }, { height }) => {
      for (const log of [receipts, transfers]) log.withFloor(Location(Math.max(0, log.size - logOperationsKept)))
      if (height !== 1) return
      for (const { address, balance } of allocations) accounts.put(address, { balance, nonce: 0n })
    },
    execute: (batches, transfer, { height }) => execute(batches, transfer, BigInt(height), checks),
  })
  const mempool = () => new Mempool({ transaction: TransferCodec, sender: ({ from }) => senderKey(from), hasher })
  return { chainId, application, ...checks, mempool }
}
