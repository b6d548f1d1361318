import AccessControl
import Authentication
import OrchestryModel
import Synchronization
import Testing

struct GatekeeperTests {
    /// Time that the test moves.
    private final class Clock: Sendable {
        private let seconds = Mutex(0)
        func move(_ by: Int) { seconds.withLock { $0 += by } }
        var now: Instant { Instant.zero + .seconds(seconds.withLock { $0 }) }
        var wall: WallTime { WallTime(seconds: 1_800_000_000 + Double(seconds.withLock { $0 })) }
    }

    private let clock = Clock()
    private let keeper: Gatekeeper
    private let text: String
    private let token: APIToken

    init() {
        let clock = clock
        var throttle = FailureThrottle.Settings()
        throttle.burst = 3
        keeper = Gatekeeper(
            .init(node: NodeID(unchecked: "n-1"), now: { clock.now }, wall: { clock.wall }, throttle: throttle))
        var random = SystemRandomNumberGenerator()
        text = TokenText.generate(using: &random)
        token = APIToken(
            name: TokenName(unchecked: "ci"), hash: TokenText.hash(text),
            grant: AccessGrant(role: .operator, apps: [AppName(unchecked: "web")]), createdAt: clock.wall,
            createdBy: "ann", expiresAt: WallTime(seconds: 1_800_000_060))
    }

    private func ask(_ authorization: String?, from address: String = "10.0.0.1") async -> Identification {
        await keeper.identify(authorization: authorization, address: address)
    }
    private func status(_ authorization: String?, from address: String = "10.0.0.1") async -> Int {
        switch await ask(authorization, from: address) {
        case .known: 200
        case .unknown(let problem): problem.status
        }
    }

    @Test func `a token is known while it holds`() async {
        #expect(await status("Bearer \(text)") == 401)
        keeper.use(tokens: [token])
        #expect(
            await ask("bearer  \(text)")
                == .known(
                    Caller(
                        name: "token:ci", address: "10.0.0.1", node: NodeID(unchecked: "n-1"), grant: token.grant,
                        token: token.fingerprint)))
        #expect(keeper.takeUses() == [token.hash: clock.wall])
        #expect(keeper.takeUses().isEmpty)
        clock.move(59)
        #expect(await status("Bearer \(text)") == 200)
        clock.move(1)
        #expect(await status("Bearer \(text)") == 401)
        keeper.use(tokens: [])
        #expect(await status("Bearer \(text)", from: "10.0.0.2") == 401)
    }

    @Test func `the bootstrap token is an admin's until it is taken away`() async {
        keeper.use(bootstrapHash: TokenText.hash(text))
        guard case .known(let caller) = await ask("Bearer \(text)") else {
            Issue.record("not known")
            return
        }
        #expect(caller.name == "bootstrap" && caller.grant == AccessGrant(role: .admin) && caller.token == nil)
        keeper.use(bootstrapHash: nil)
        #expect(await status("Bearer \(text)") == 401)
    }

    @Test func `who fails too often is locked out, with good credentials too, and alone`() async {
        keeper.use(tokens: [token])
        for _ in 0..<50 { #expect(await status(nil) == 401) }
        for _ in 0..<4 { #expect(await status("Bearer wrong") == 401) }
        guard case .unknown(let problem) = await ask("Bearer \(text)") else {
            Issue.record("not locked out")
            return
        }
        #expect(problem.status == 429 && problem.retryAfterSeconds == 30)
        #expect(await status("Bearer \(text)", from: "10.0.0.2") == 200)
        clock.move(30)
        #expect(await status("Bearer \(text)") == 200)
        #expect(keeper.failures == 4)
    }

    @Test(arguments: ["Basic YTpi", "Bearer", "Bearer a b", "", "Bearer orc_short", "orc_x", "Bearer a.b.c"])
    func `other credentials are refused`(_ header: String) async { #expect(await status(header) == 401) }

    @Test func `a token that was just made is looked for before it is refused`() async {
        let calls = Mutex(0)
        let made = Mutex<Gatekeeper?>(nil)
        let token = token
        let keeper = Gatekeeper(
            .init(
                node: NodeID(unchecked: "n-1"), now: { [clock] in clock.now }, wall: { [clock] in clock.wall },
                refresh: {
                    let count = calls.withLock { calls in
                        calls += 1
                        return calls
                    }
                    if count == 2 { made.withLock { $0 }?.use(tokens: [token]) }
                }))
        made.withLock { $0 = keeper }
        guard case .known = await keeper.identify(authorization: "Bearer \(text)", address: nil) else {
            Issue.record("not known")
            return
        }
        #expect(keeper.failures == 0 && calls.withLock { $0 } == 2)
        // What can't be one is not looked for.
        _ = await keeper.identify(authorization: "Bearer orc_x", address: nil)
        #expect(calls.withLock { $0 } == 2)
    }
}
