/** A light client: `verify-account.ts <url> <address>` shows what a node proves of an account, and nothing else. */
import { trustedChain, verifyAccount } from "@coppice-apps/ledger/wallet"

const [url = "http://127.0.0.1:7070", address = ""] = process.argv.slice(2)
const ask = async (path: string): Promise<unknown> => (await fetch(url + path)).json()
const chain = trustedChain(await ask("/chain"))
const verdict = verifyAccount(chain, address, await ask(`/accounts/${address}?proof=true`))
console.log(verdict)
process.exitCode = verdict.valid ? 0 : 1
