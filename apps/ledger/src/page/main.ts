/**
 * The page: asks its node for an account, the block and the chain, and shows what of it holds.
 *
 *   form --> /accounts/{address}?proof=true, /blocks/{height} --> steps.ts --> one card a step, one verdict
 *
 * Invariant: a balance is shown as proven only when every step was verified in this browser.
 */
import { type Step, trustedBy, verifySteps } from "./steps.ts"

/** What is used of an element. */
interface Part {
  textContent: string | null
  className: string
  value: string
  readonly append: (...parts: ReadonlyArray<Part>) => void
  readonly replaceChildren: (...parts: ReadonlyArray<Part>) => void
  readonly addEventListener: (event: "submit", listener: (event: { preventDefault: () => void }) => void) => void
}

/** What is used of the browser besides what Node has, too. */
declare const document: {
  readonly createElement: (tag: string) => Part
  readonly getElementById: (id: string) => Part
}
declare const location: { readonly search: string }

const CERTIFIED_TRIES_MAX = 50

const part = (tag: string, className: string, text = ""): Part => {
  const made = document.createElement(tag)
  made.className = className
  made.textContent = text
  return made
}

/** The page's own elements. */
const shown = (id: "form" | "address" | "verdict" | "balance" | "account" | "steps" | "chain" | "keys"): Part =>
  document.getElementById(id)

const MARKS = { verified: "✓", refused: "✕", "not checked": "–" } as const

const cardOf = ({ name, outcome, says, values }: Step): Part => {
  const card = part("li", `step ${outcome.replace(" ", "-")}`)
  const head = part("div", "head")
  head.append(part("span", "mark", MARKS[outcome]), part("h3", "", name), part("span", "outcome", outcome))
  card.append(head, part("p", "says", says))
  const list = part("dl", "values")
  for (const [label, value] of values) list.append(part("dt", "", label), part("dd", "", value))
  if (values.length > 0) card.append(list)
  return card
}

const ask = async (path: string): Promise<unknown> => (await fetch(path)).json()

/** An account with its proof. A state that no certificate covers yet is asked for again. */
const accountOf = async (address: string): Promise<Record<string, unknown>> => {
  for (let tries = 1; ; tries++) {
    const account = (await ask(`/accounts/${encodeURIComponent(address)}?proof=true`)) as Record<string, unknown>
    if (account["error"] !== "ProofNotReady" || tries === CERTIFIED_TRIES_MAX) return account
  }
}

const tell = (outcome: "working" | "verified" | "refused", verdict: string, account = ""): void => {
  document.getElementById("result").className = outcome
  shown("verdict").textContent = verdict
  shown("account").textContent = account
}

const verify = async (address: string): Promise<void> => {
  tell("working", "Checking…")
  shown("steps").replaceChildren()
  const account = await accountOf(address)
  if (account["error"] !== undefined) {
    shown("balance").textContent = "–"
    return tell("refused", String(account["message"]))
  }
  const block = await ask(`/blocks/${account["height"]}`)
  shown("balance").textContent = String(account["balance"]).replace(/\B(?=(\d{3})+$)/g, ",")
  const steps = verifySteps(trustedBy(chain), { address, block, account })
  shown("steps").replaceChildren(...steps.map(cardOf))
  if (!steps.every(({ outcome }) => outcome === "verified")) {
    return tell("refused", "Refused: the node says this and does not prove it")
  }
  const exists = account["exists"] === true
  const height = `at height ${account["height"]}`
  tell("verified", exists ? `Proven ${height}` : `Proven ${height}: this account does not exist`, address)
}

const verifyGiven = (address: string): Promise<void> =>
  verify(address.trim()).catch((error: unknown) => tell("refused", `The check could not be made: ${error}`))

const chain = await ask("/chain")
const { chainId, participants } = trustedBy(chain)
shown("chain").textContent = chainId
const keys = participants.keys.map((key, index) => {
  const text = Array.from(key, (byte) => byte.toString(16).padStart(2, "0")).join("")
  return part("li", "", `${index}  ${text}`)
})
shown("keys").replaceChildren(...keys)
shown("form").addEventListener("submit", (event) => {
  event.preventDefault()
  void verifyGiven(shown("address").value)
})

const asked = new URLSearchParams(location.search).get("account")
const { accounts } = (await ask("/accounts?limit=1")) as { readonly accounts: ReadonlyArray<{ address: string }> }
shown("address").value = asked ?? accounts[0]?.address ?? ""
await verifyGiven(shown("address").value)
