/**
 * Goal: the devnet as a person uses it: it runs, says what it did, stops, goes on, refuses, and survives being killed.
 * Method: the command as a child process on temporary directories and free ports; what it claims is read again from disk
 * and over HTTP. Restarts of validators are driven in this process, where their schedule can be set.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { createServer } from "node:http"
import { join } from "node:path"
import { it } from "@effect/vitest"
import { Effect } from "effect"
import { describe, expect } from "vitest"
import { openDevnet } from "../src/devnet/devnet.ts"
import { rootOnDisk } from "../src/devnet/verify.ts"
import { makeWatch, SAMPLE_HEAD, sampleLine } from "../src/devnet/watch.ts"
import { imageOf, runToEnd, start, temporaryDirectory } from "./support/cli.ts"

const URL_LINE = /API +(http:\/\/127\.0\.0\.1:\d+)/

const get = (url: string, init?: RequestInit) =>
  Effect.promise(async () => {
    const response = await fetch(url, init)
    // biome-ignore lint/suspicious/noExplicitAny: bodies are judged field by field
    return { status: response.status, body: (await response.json()) as any }
  })

/** Waits for what becomes true with time. */
const eventually = <A>(what: Effect.Effect<A>, holds: (a: A) => boolean): Effect.Effect<A> =>
  Effect.flatMap(what, (a) =>
    holds(a) ? Effect.succeed(a) : Effect.andThen(Effect.sleep(30), eventually(what, holds)),
  )

const bounded = (data: string, blocks: number, ...more: ReadonlyArray<string>) =>
  runToEnd("devnet", "--data", data, "--port", "0", "--blocks", String(blocks), "--json", ...more)

describe("a bounded run", () => {
  it.live("ends with one line of JSON whose roots are those on disk, and the next one goes on from there", () =>
    Effect.gen(function* () {
      const data = yield* temporaryDirectory
      const first = yield* bounded(data, 12, "--load", "300")
      expect(first.code, first.err).toBe(0)
      expect(first.out.trimEnd().split("\n")).toHaveLength(1)
      const result = JSON.parse(first.out)
      expect(result.blocks).toBeGreaterThanOrEqual(12)
      expect(result).toMatchObject({ height: result.blocks, validators: 4, restarts: 0 })
      expect(result.transfers).toBeGreaterThan(0)
      expect(result.roots).toHaveLength(4)
      const inspected = yield* runToEnd("inspect", data, "--json")
      const { nodes } = JSON.parse(inspected.out)
      for (const [index, { set, validator }] of nodes.entries()) {
        expect(validator).toBe(index)
        expect(set.anchor).toMatchObject({ height: result.height, digest: result.digest })
        expect(set.members[0]).toMatchObject({ name: "accounts", canonical: result.roots[index], active: 80 })
        const [, receipts, transfers] = set.members
        // One operation a transfer, one a block, and the one that the database began with.
        const size = result.transfers + result.blocks + 1
        expect([receipts, transfers]).toMatchObject([
          { name: "receipts", size },
          { name: "transfers", size },
        ])
      }
      const second = yield* bounded(data, 5, "--load", "0")
      expect(second.code, second.err).toBe(0)
      const next = JSON.parse(second.out)
      expect(next.height).toBe(result.height + next.blocks)
      expect(next.chain).toBe(result.chain)
    }),
  )

  it.live("in development ends as any other: the ledger agrees with itself", () =>
    Effect.gen(function* () {
      const data = yield* temporaryDirectory
      const { code, out, err } = yield* bounded(data, 8, "--load", "100", "--development")
      expect(code, err).toBe(0)
      const { roots, transfers } = JSON.parse(out)
      expect(new Set(roots).size).toBe(1)
      expect(transfers).toBeGreaterThan(0)
      expect(readdirSync(join(data, "validator-0"))).not.toContain("divergence")
    }),
  )

  it.live("of one validator works as well", () =>
    Effect.gen(function* () {
      const { code, out, err } = yield* bounded(yield* temporaryDirectory, 5, "--validators", "1", "--seed", "3")
      expect(code, err).toBe(0)
      expect(JSON.parse(out)).toMatchObject({ validators: 1, chain: "devnet-3" })
    }),
  )
})

describe("a devnet that runs", () => {
  it.live("takes a transfer signed by the command, and shows it in the account, also after SIGKILL", () =>
    Effect.gen(function* () {
      const data = yield* temporaryDirectory
      const devnet = yield* start("devnet", "--data", data, "--port", "0", "--load", "50")
      const url = (yield* devnet.until(URL_LINE))[1]!
      const signed = yield* runToEnd("transfer", "--data", data, "--url", url, "--amount", "77", "--nonce", "0")
      expect(signed.code, signed.err).toBe(0)
      const { to } = JSON.parse(signed.out)
      const headers = { "content-type": "application/json" }
      const submitted = yield* get(`${url}/transfers`, { method: "POST", body: signed.out, headers })
      const { id } = submitted.body
      const receipt = yield* eventually(get(`${url}/transfers/${id}/receipt`), ({ status }) => status === 200)
      expect(receipt.body).toMatchObject({
        transfer: id,
        senderBalance: "999999999923",
        receiverBalance: "1000000000077",
      })
      expect((yield* get(`${url}/transfers/${id}`)).body).toMatchObject({
        amount: "77",
        nonce: "0",
        to,
        receipt: receipt.body.location,
      })
      expect((yield* get(`${url}/accounts/${to}`)).body.balance).toBe("1000000000077")
      const again = yield* get(`${url}/transfers`, { method: "POST", body: signed.out, headers })
      expect(again.status).toBe(409)
      yield* eventually(get(`${url}/status`), ({ body }) => body.durable.height >= receipt.body.height)
      devnet.child.kill("SIGKILL")
      expect((yield* devnet.ended).signal).toBe("SIGKILL")

      const after = yield* start("devnet", "--data", data, "--port", "0", "--load", "0")
      const second = (yield* after.until(URL_LINE))[1]!
      expect((yield* get(`${second}/transfers/${id}/receipt`)).body).toEqual(receipt.body)
      expect((yield* get(`${second}/accounts/${to}`)).body.balance).toBe("1000000000077")
      const { height } = (yield* get(`${second}/status`)).body
      yield* eventually(get(`${second}/status`), ({ body }) => body.height > height)
    }),
  )

  it.live("stops cleanly when SIGINT comes twice, and frees its directory", () =>
    Effect.gen(function* () {
      const data = yield* temporaryDirectory
      const devnet = yield* start("devnet", "--data", data, "--port", "0")
      yield* devnet.until(/blocks\/s/)
      devnet.child.kill("SIGINT")
      yield* Effect.sleep(1)
      devnet.child.kill("SIGINT")
      const { code, out, err } = yield* devnet.ended
      expect(code, err).toBe(0)
      expect(out).toContain("stopped")
      for (const index of [0, 1, 2, 3]) expect(readdirSync(`${data}/validator-${index}`)).not.toContain("lock.json")
      expect((yield* runToEnd("inspect", data)).code).toBe(0)
    }),
  )

  it.live("stops cleanly when nobody reads its output any more", () =>
    Effect.gen(function* () {
      const data = yield* temporaryDirectory
      const devnet = yield* start("devnet", "--data", data, "--port", "0", "--load", "0")
      yield* devnet.until(URL_LINE)
      devnet.child.stdout!.destroy()
      const { code, err } = yield* devnet.ended
      expect({ code, err }).toEqual({ code: 0, err: "" })
      expect(readdirSync(data)).not.toContain("lock.json")
    }),
  )

  it.live("refuses a second start, and inspection, and says who holds the directory", () =>
    Effect.gen(function* () {
      const data = yield* temporaryDirectory
      const devnet = yield* start("devnet", "--data", data, "--port", "0", "--load", "0")
      yield* devnet.until(URL_LINE)
      for (const refused of [yield* bounded(data, 1), yield* runToEnd("inspect", data)]) {
        expect(refused.code).toBe(1)
        expect(refused.out).toBe("")
        expect(refused.err).toContain(`${data} is in use by process ${devnet.child.pid}`)
      }
    }),
  )

  it.live("shows figures in lines of at most 100 columns", () =>
    Effect.gen(function* () {
      const sample = {
        height: 1_234_567,
        blocksPerSecond: 123.45,
        transfersPerSecond: 12_345.6,
        layers: 128,
        bytes: 12_345_678,
        flushMs: 1234.5,
        roots: ["0123456789abcdef", "down", "behind", "0123456789abcdef"],
      }
      const line = sampleLine(sample)
      expect(line.length).toBeLessThanOrEqual(100)
      expect(SAMPLE_HEAD.indexOf("state root")).toBe(line.indexOf("01234567"))
      expect(line).toMatch(/12\.3 MB.*01234567 down {5}behind {3}01234567/)
    }),
  )
})

describe("what is refused says why", () => {
  it.live("a port in use", () =>
    Effect.gen(function* () {
      const server = yield* Effect.acquireRelease(
        Effect.promise(
          () =>
            new Promise<ReturnType<typeof createServer>>((resolve) => {
              const listening = createServer().listen(0, "127.0.0.1", () => resolve(listening))
            }),
        ),
        (listening) => Effect.sync(() => listening.close()),
      )
      const { port } = server.address() as { readonly port: number }
      const { code, err } = yield* runToEnd("devnet", "--data", yield* temporaryDirectory, "--port", String(port))
      expect(code).toBe(1)
      expect(err).toContain(`port ${port} on 127.0.0.1 is in use`)
      expect(err).toContain("--port 0")
    }),
  )

  it.live("an inspection of what holds no node", () =>
    Effect.gen(function* () {
      const directory = yield* temporaryDirectory
      for (const nothing of [directory, join(directory, "missing")]) {
        const { code, err } = yield* runToEnd("inspect", nothing)
        expect(code).toBe(1)
        expect(err).toContain(`there is no node in ${nothing}`)
      }
      expect(readdirSync(directory)).toEqual([])
    }),
  )

  it.live("an option that makes no sense", () =>
    Effect.gen(function* () {
      for (const args of [
        ["--port", "70000"],
        ["--validators", "0"],
        ["--blocks", "0"],
        ["--load", "-1"],
        ["--nope"],
      ]) {
        const { code, err } = yield* runToEnd("devnet", "--data", yield* temporaryDirectory, ...args)
        expect(code, args.join(" ")).toBe(1)
        expect(err, args.join(" ")).toContain(args[0]!.slice(2))
      }
    }),
  )
})

describe("validators that restart", () => {
  it.live("come back from disk, and all of them end with the roots of the block", () =>
    Effect.gen(function* () {
      const directory = yield* temporaryDirectory
      const outcome = yield* Effect.scoped(
        Effect.gen(function* () {
          const devnet = yield* openDevnet({
            directory,
            port: 0,
            load: 300,
            seed: 11,
            schedule: { viewMs: 10, restarts: { everyViews: 12, downViews: 4 } },
          })
          const watch = yield* makeWatch(devnet)
          const restarted = eventually(devnet.statistics, ({ restarts }) => restarts >= 4)
          yield* Effect.raceFirst(restarted, devnet.failed)
          const height = yield* devnet.settle
          expect(yield* watch.follow).toBeGreaterThan(0)
          const blocks = yield* Effect.forEach(devnet.nodes(), ({ marshal, set }) =>
            marshal.finalizedAt(set.anchor.height),
          )
          return { devnet, height, blocks }
        }),
      )
      const { devnet, height, blocks } = outcome
      expect(new Set(blocks.map((block) => Buffer.from(block!.digest).toString("hex"))).size).toBe(1)
      expect(blocks[0]!.height).toBe(height)
      const roots = yield* Effect.forEach(devnet.validators, ({ directory: each }) =>
        rootOnDisk(each, devnet.chain.ledger, blocks[0]!),
      )
      expect(new Set(roots).size).toBe(1)
      const other = { ...blocks[0]!, targets: { ...blocks[0]!.targets, accounts: blocks[0]!.targets.receipts } }
      const canary = yield* Effect.flip(rootOnDisk(devnet.validators[0]!.directory, devnet.chain.ledger, other))
      expect(canary).toMatchObject({ _tag: "RootsDiffer", member: "accounts" })
    }),
  )
})

describe("a devnet of which one validator is not its own", () => {
  it.live("is refused with every byte of all validators as it was", () =>
    Effect.gen(function* () {
      const data = yield* temporaryDirectory
      const first = yield* start("devnet", "--data", data, "--port", "0")
      yield* first.until(/blocks\/s/)
      first.child.kill("SIGKILL")
      yield* first.ended
      const path = join(data, "validator-2", "config.json")
      const config = JSON.parse(readFileSync(path, "utf8"))
      writeFileSync(path, JSON.stringify({ ...config, chain: "another" }))
      const before = imageOf(data)
      const refused = yield* runToEnd("devnet", "--data", data, "--port", "0")
      expect(refused.code).toBe(1)
      expect(refused.err).toContain("validator-2 belongs to another chain")
      expect(imageOf(data)).toEqual(before)
      writeFileSync(path, JSON.stringify(config))
      expect((yield* bounded(data, 2)).code).toBe(0)
    }),
  )
})
