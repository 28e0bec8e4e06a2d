/**
 * What the ledger's databases hold, as a node opens them and a light client verifies them.
 *
 *   accounts    address     -> balance, nonce            current, ordered: who has what now, and who has nothing
 *   receipts    location    -> what a transfer left      keyless: appended, never changed
 *   transfers   transfer id -> transfer, its receipt     immutable: set once
 *
 * Terms: the *location* of a receipt is its name: its place in the log of all receipts.
 *
 * Invariant: nothing here needs a database; the declarations of both sides are these.
 */
import { Bytes, type Codec, Struct, U64, U64Safe } from "@coppice/codec"
import { DIGEST_BYTES, PUBLIC_KEY_BYTES } from "@coppice/crypto"
import { type Transfer, TransferCodec } from "./transfer.ts"

/** An account. One that was never paid has balance 0 and nonce 0 and is not stored. */
export interface Account {
  readonly balance: bigint
  readonly nonce: bigint
}

/** What an executed transfer leaves behind. */
export interface Receipt {
  /** Id of the transfer. */
  readonly transfer: Uint8Array
  /** Height of the block that executed it. */
  readonly height: bigint
  /** What the sender had afterwards. */
  readonly senderBalance: bigint
  /** What the receiver had afterwards. */
  readonly receiverBalance: bigint
}

/** A transfer that was executed. */
export interface ExecutedTransfer {
  readonly transfer: Transfer
  /** Location of its receipt. */
  readonly receipt: number
}

/** The account that nothing was ever stored for. */
export const EMPTY_ACCOUNT: Account = { balance: 0n, nonce: 0n }

const AccountCodec: Codec<Account> = Struct({ balance: U64, nonce: U64 })

const ReceiptCodec: Codec<Receipt> = Struct({
  transfer: Bytes(DIGEST_BYTES),
  height: U64,
  senderBalance: U64,
  receiverBalance: U64,
})

const ExecutedTransferCodec: Codec<ExecutedTransfer> = Struct({ transfer: TransferCodec, receipt: U64Safe })

/** How the accounts are declared. */
export const ACCOUNTS = { key: Bytes(PUBLIC_KEY_BYTES), value: AccountCodec, ordered: true } as const
/** How the receipts are declared. */
export const RECEIPTS = { value: ReceiptCodec } as const
/** How the transfers are declared. */
export const TRANSFERS = { key: Bytes(DIGEST_BYTES), value: ExecutedTransferCodec } as const

/** What decides the encoding of what a header commits to, in declared order. */
export const HEADER_TARGETS = {
  accounts: { canonical: true },
  receipts: { canonical: false },
  transfers: { canonical: false },
} as const
