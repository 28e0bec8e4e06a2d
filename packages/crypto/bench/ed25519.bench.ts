/**
 * What Ed25519 costs by each provider, and what a forger makes a node pay (CONS-22).
 */
import { alternate, type Bench, figure, time } from "@coppice/bench"
import { type Ed25519, keyPairFromSeed, portableEd25519 } from "@coppice/crypto"
import { nodeEd25519 } from "@coppice/crypto/node"

const CALLS = 20
const message = new Uint8Array(120).fill(7)
const { secret, publicKey } = keyPairFromSeed(nodeEd25519, new Uint8Array(32).fill(1))
const signature = nodeEd25519.sign(secret, message)
const other = message.with(0, 8)

const calls = (run: () => unknown) => ({
  run: () => {
    for (let i = 0; i < CALLS; i++) run()
  },
})

const beside = async (operation: string, run: (provider: Ed25519) => unknown) => {
  const { node, portable } = await alternate(
    { node: calls(() => run(nodeEd25519)), portable: calls(() => run(portableEd25519)) },
    { rounds: 20, warmup: 3 },
  )
  const against = { name: "portable", timing: portable }
  return figure(`crypto::ed25519/${operation}`, node, { unit: "us", per: CALLS, against })
}

/** The benchmarks of the Ed25519 providers. */
export const benches: ReadonlyArray<Bench> = [
  {
    name: "crypto::ed25519",
    run: async () => [
      await beside("sign", (provider) => provider.sign(secret, message)),
      await beside("verify", (provider) => provider.verify(publicKey, message, signature)),
      figure(
        "crypto::ed25519/refuse",
        await time(
          calls(() => nodeEd25519.verify(publicKey, other, signature)),
          { rounds: 20, warmup: 3 },
        ),
        { unit: "us", per: CALLS },
      ),
    ],
  },
]
