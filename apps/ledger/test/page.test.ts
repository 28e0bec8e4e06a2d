/**
 * Goal: the page shows a balance as proven exactly when it is, in a browser that people use.
 * Method: a node on LMDB serves it to headless Chromium; what the browser receives is changed on its way, one lie at a time.
 * The checks alone are given any JSON. Canary: answers that pass through the same hands unchanged are shown as proven.
 *
 * On a machine without Chromium the tests in the browser say that they did not run; in CI they fail there.
 */
import { existsSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { gzipSync } from "node:zlib"
import { nodeEd25519, nodeHasher } from "@coppice/crypto/node"
import { it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import fc from "fast-check"
import { type BrowserContext, chromium, type Page } from "playwright-core"
import { describe, expect, test } from "vitest"
import { handleAccount } from "../src/handlers.ts"
import { AccountSchema } from "../src/index.ts"
import { bundlePage } from "../src/page/routes.ts"
import { type Step, trustedBy, verifySteps } from "../src/page/steps.ts"
import { alice, bob, chainAnswer, dave, ledgerWith, openChain, transfer } from "./support/chain.ts"
import { eventually, start, temporaryDirectory } from "./support/server.ts"

const BUNDLE_BYTES_MAX = 40_000
const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex")
const [ALICE, DAVE] = [alice, dave].map(({ publicKey }) => toHex(publicKey)) as [string, string]

const CHROMIUMS = [
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/Applications/Chromium.app/Contents/MacOS/Chromium",
]
const executablePath = CHROMIUMS.find((path) => existsSync(path))
const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
]

/** A browser of its own, with an empty profile, until the scope closes. */
const browser = Effect.gen(function* () {
  const profile = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "coppice-chromium-"))),
    (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true, maxRetries: 5 })),
  )
  const options = { executablePath: executablePath!, headless: true, args: FLAGS, timeout: 20_000 }
  return yield* Effect.acquireRelease(
    Effect.promise(() => chromium.launchPersistentContext(profile, options)),
    (context) => Effect.promise(() => context.close()),
  )
})

/** What the page shows when it has made up its mind. */
interface Shown {
  readonly result: string | null
  readonly balance: string | null
  readonly verdict: string | null
  readonly steps: ReadonlyArray<string>
}

const read = async (page: Page): Promise<Shown> => {
  await page.locator("#result.verified, #result.refused").waitFor({ timeout: 15_000 })
  return {
    result: await page.locator("#result").getAttribute("class"),
    balance: await page.locator("#balance").textContent(),
    verdict: await page.locator("#verdict").textContent(),
    steps: await page.locator(".step .outcome").allTextContents(),
  }
}

type Change = (body: Readonly<Record<string, unknown>>) => object

/** Opens the page for an account, with answers of one path changed on their way. */
const openPage = async (context: BrowserContext, url: string, path: string, change: Change): Promise<Shown> => {
  const page = await context.newPage()
  await page.route(`**${path}`, async (route) => {
    const answer = await route.fetch()
    await route.fulfill({ json: change(await answer.json()) })
  })
  await page.goto(`${url}/?account=${ALICE}`)
  const shown = await read(page)
  await page.close()
  return shown
}

const flipAt = (hex: string, byte: number): string =>
  hex.slice(0, 2 * byte) +
  (Number.parseInt(hex.slice(2 * byte, 2 * byte + 2), 16) ^ 1).toString(16).padStart(2, "0") +
  hex.slice(2 * byte + 2)

const ACCOUNT = "/accounts/*"
const BLOCK = "/blocks/*"
const inProof =
  (change: (proof: Record<string, string> & { headers: Array<string> }) => object): Change =>
  (body) => ({ ...body, proof: { ...(body["proof"] as object), ...change(body["proof"] as never) } })

const proven = ["verified", "verified", "verified", "verified"]
const refusedAt = (step: number) =>
  proven.map((_, i) => (i < step ? "verified" : i === step ? "refused" : "not checked"))

/** Lies by what they change, with the step at which each is refused. */
const LIES: Readonly<Record<string, readonly [path: string, change: Change, step: number]>> = {
  "another balance": [ACCOUNT, (body) => ({ ...body, balance: "101" }), 3],
  "another nonce": [ACCOUNT, (body) => ({ ...body, nonce: "7" }), 3],
  "an account that is not there": [ACCOUNT, (body) => ({ ...body, exists: false, balance: "0", nonce: "0" }), 3],
  "another account": [ACCOUNT, (body) => ({ ...body, address: DAVE }), 3],
  "a bit of the proof": [ACCOUNT, inProof(({ proof }) => ({ proof: flipAt(proof!, proof!.length / 2 - 40) })), 3],
  "a header of another block": [BLOCK, (body) => ({ ...body, header: flipAt(String(body["header"]), 60) }), 1],
  "a bit of the header": [
    ACCOUNT,
    inProof(({ headers }) => ({ headers: headers.map((header) => flipAt(header, 60)) })),
    1,
  ],
  "no header": [ACCOUNT, inProof(() => ({ headers: [] })), 1],
  "a bit of a signature": [
    ACCOUNT,
    inProof(({ finalization }) => ({ finalization: flipAt(finalization!, finalization!.length / 2 - 10) })),
    0,
  ],
  "no certificate": [ACCOUNT, inProof(() => ({ finalization: "" })), 0],
  "no proof": [ACCOUNT, ({ proof: _, ...body }) => body, 0],
}

const inBrowser = (work: (context: BrowserContext, url: string) => Effect.Effect<void>) =>
  Effect.gen(function* () {
    const { url } = yield* start(ledgerWith([100n, 5n]), yield* temporaryDirectory)
    yield* eventually(`${url}/accounts/${ALICE}`, ({ body }) => (body as { balance: string }).balance === "100")
    yield* work(yield* browser, url)
  }).pipe(Effect.scoped)

describe("in Chromium", () => {
  const run = (name: string, work: (context: BrowserContext, url: string) => Effect.Effect<void>) =>
    it.live(
      name,
      (context) => {
        if (executablePath === undefined && process.env["CI"] === undefined) {
          return Effect.sync(() => context.skip("there is no Chromium on this machine: install it to run this test"))
        }
        return inBrowser(work)
      },
      60_000,
    )

  run("a balance is shown as proven, and the absence of an account; nothing is loaded from elsewhere", (context, url) =>
    Effect.promise(async () => {
      const page = await context.newPage()
      const trouble: Array<string> = []
      const asked = new Set<string>()
      page.on("pageerror", (error) => trouble.push(String(error)))
      page.on("console", (message) => trouble.push(message.text()))
      page.on("request", (request) => asked.add(new URL(request.url()).origin))
      await page.goto(`${url}/?account=${ALICE}`)
      expect(await read(page)).toMatchObject({
        result: "verified",
        balance: "100",
        verdict: expect.stringMatching(/^Proven at height [1-9][0-9]*$/),
        steps: proven,
      })
      await page.locator("#address").fill(DAVE)
      await page.locator("button").click()
      await page.getByText("this account does not exist").waitFor({ timeout: 15_000 })
      expect(await read(page)).toMatchObject({ result: "verified", balance: "0", steps: proven })
      await page.locator("#address").fill("no address")
      await page.locator("button").click()
      await page.locator("#result.refused").waitFor({ timeout: 15_000 })
      expect(await read(page)).toMatchObject({ result: "refused", balance: "–", steps: [] })
      // The browser itself reports the 400 that a malformed address gets.
      expect(trouble.filter((text) => !text.includes("400"))).toEqual([])
      expect([...asked].filter((origin) => origin !== url && origin !== "null")).toEqual([])
    }),
  )

  run("every lie about balance, header or certificate is shown as refused, where it is refused", (context, url) =>
    Effect.promise(async () => {
      for (const [what, [path, change, step]] of Object.entries(LIES)) {
        const shown = await openPage(context, url, path, change)
        expect(shown.result, what).toBe("refused")
        expect(shown.steps, what).toEqual(refusedAt(step))
        expect(shown.verdict, what).toMatch(/^Refused/)
      }
    }),
  )

  run("canary: answers that pass through the same hands unchanged are shown as proven", (context, url) =>
    Effect.promise(async () => {
      for (const path of [ACCOUNT, BLOCK]) {
        expect((await openPage(context, url, path, (body) => body)).steps, path).toEqual(proven)
      }
    }),
  )
})

describe("the checks alone", () => {
  const trusted = { ...trustedBy(chainAnswer), ed25519: nodeEd25519, hasher: nodeHasher }

  /** True answers about alice at a height that a later certificate covers. */
  const world = Effect.gen(function* () {
    const chain = yield* openChain(ledgerWith([100n, 5n]))
    yield* chain.append()
    yield* chain.execute(transfer(alice, bob))
    const answer = yield* handleAccount(chain.node, alice.publicKey, true)
    const account = Schema.encodeSync(AccountSchema)(answer)
    return { address: ALICE, account, block: { header: account.proof!.headers[0]! } }
  })

  const outcomes = (steps: ReadonlyArray<Step>) => steps.map(({ outcome }) => outcome)

  it.effect("true answers are verified in four steps", () =>
    Effect.gen(function* () {
      expect(outcomes(verifySteps(trusted, yield* world))).toEqual(proven)
    }),
  )

  it.effect("whatever JSON the answers are, four steps are given, and one of them is refused", () =>
    Effect.gen(function* () {
      const { address, account, block } = yield* world
      const proof = account.proof!
      const replaced = fc
        .record({ key: fc.constantFrom(...Object.keys(proof)), value: fc.jsonValue() })
        .filter(({ key, value }) => key !== "height" && JSON.stringify(value) !== JSON.stringify(proof[key as "proof"]))
        .map(({ key, value }) => ({ ...account, proof: { ...proof, [key]: value } }))
      const answers = fc.oneof(
        fc.record({ account: fc.jsonValue(), block: fc.jsonValue() }),
        replaced.map((changed) => ({ account: changed, block })),
        fc.jsonValue().map((other) => ({ account, block: other })),
      )
      const property = fc.property(answers, (given) => {
        const found = outcomes(verifySteps(trusted, { address, ...given }))
        expect(found).toHaveLength(4)
        expect(found).toContain("refused")
      })
      fc.assert(property, { numRuns: 300, seed: Number(process.env["FC_SEED"] ?? 42) })
    }),
  )

  test("the bundle holds no code of Node's, and stays small", async () => {
    const code = await bundlePage()
    const bytes = gzipSync(code, { level: 9 }).length
    console.log(`page: ${bytes} of ${BUNDLE_BYTES_MAX} bytes gzipped`)
    expect(bytes).toBeLessThanOrEqual(BUNDLE_BYTES_MAX)
    expect(code).not.toMatch(/node:|require\(|\bimport\s*[{"(*]/)
  })
})
