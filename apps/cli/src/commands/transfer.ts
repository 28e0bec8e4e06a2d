/**
 * `coppice transfer`: a transfer signed by a development account, as the body that a validator takes.
 *
 *   npm run -s coppice -- transfer --to HEX --amount 5 | curl -d @- -H 'content-type: application/json' URL/transfers
 *
 * Invariant: nothing is submitted here. Only accounts of a devnet on this machine sign: their keys are in its directory.
 */

import { nodeEd25519 } from "@coppice/crypto/node"
import { toHex } from "@coppice/node"
import { signTransfer, transferNamespace, transferToJson } from "@coppice-apps/ledger/wallet"
import { Console, Data, Effect, Option, Schema } from "effect"
import { Command, Flag } from "effect/cli"
import { FetchHttpClient, HttpClient, HttpClientResponse } from "effect/http"
import { readHome } from "../devnet/home.ts"
import { developmentAccount } from "../devnet/ledger-chain.ts"
import { PEOPLE } from "../limits.ts"
import { DEFAULT_PORT, dataFlag } from "./flags.ts"

/** There is no devnet whose account could sign. */
export class NoDevnet extends Data.TaggedError("NoDevnet")<{ readonly directory: string }> {}

/** The node did not say which nonce comes next. */
export class NodeSilent extends Data.TaggedError("NodeSilent")<{ readonly url: string; readonly cause: unknown }> {}

const AccountAnswer = Schema.Struct({ nextNonce: Schema.String.check(Schema.isPattern(/^[0-9]{1,20}$/)) })

const nextNonce = (url: string, address: string): Effect.Effect<bigint, NodeSilent> =>
  HttpClient.get(`${url}/accounts/${address}`).pipe(
    Effect.flatMap(HttpClientResponse.schemaBodyJson(AccountAnswer)),
    Effect.map((answer) => BigInt(answer.nextNonce)),
    Effect.mapError((cause) => new NodeSilent({ url, cause })),
    Effect.provide(FetchHttpClient.layer),
  )

const flags = {
  to: Flag.String("to").pipe(
    Flag.withMetavar("ADDRESS"),
    Flag.withSchema(Schema.String.check(Schema.isPattern(/^[0-9a-f]{64}$/))),
    Flag.withDescription("Address of the receiver, 64 hex digits (default: development account 1)"),
    Flag.optional,
  ),
  amount: Flag.String("amount").pipe(
    Flag.withSchema(Schema.String.check(Schema.isPattern(/^[0-9]{1,19}$/))),
    Flag.withDescription("Amount in the smallest unit (default: 1)"),
    Flag.withDefault("1"),
  ),
  from: Flag.Int("from").pipe(
    Flag.withSchema(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: PEOPLE - 1 }))),
    Flag.withDescription(`Development account that pays, 0 to ${PEOPLE - 1} (default: 0)`),
    Flag.withDefault(0),
  ),
  nonce: Flag.String("nonce").pipe(
    Flag.withSchema(Schema.String.check(Schema.isPattern(/^[0-9]{1,19}$/))),
    Flag.withDescription("Nonce; without it the node is asked for the next one"),
    Flag.optional,
  ),
  url: Flag.String("url").pipe(
    Flag.withDescription("A validator (default: http://127.0.0.1:7070)"),
    Flag.withDefault(`http://127.0.0.1:${DEFAULT_PORT}`),
  ),
  data: dataFlag,
}

/** The command. */
export const transfer = Command.make(
  "transfer",
  flags,
  Effect.fnUntraced(function* ({ to, amount, from, nonce, url, data }) {
    const home = yield* readHome(data)
    if (home === undefined) return yield* new NoDevnet({ directory: data })
    const account = (index: number) => developmentAccount(home.accountsSeed, index)
    const keys = account(from)
    const receiver = Option.isSome(to) ? new Uint8Array(Buffer.from(to.value, "hex")) : account(1).publicKey
    const next = Option.isSome(nonce) ? BigInt(nonce.value) : yield* nextNonce(url, toHex(keys.publicKey))
    const body = { to: receiver, amount: BigInt(amount), nonce: next }
    const signed = signTransfer(nodeEd25519, keys, transferNamespace(home.chainId), body)
    yield* Console.log(JSON.stringify(transferToJson(signed)))
  }),
).pipe(Command.withDescription("Sign a transfer of a development account, ready to be sent with curl"))
