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

    private func ask(_ authorization: String?, from address: String = "10.0.0.1") -> Identification {
        keeper.identify(authorization: authorization, address: address)
    }
    private func status(_ authorization: String?, from address: String = "10.0.0.1") -> Int {
        switch ask(authorization, from: address) {
        case .known: 200
        case .unknown(let problem): problem.status
        }
    }

    @Test func `a token is known while it holds`() {
        #expect(status("Bearer \(text)") == 401)
        keeper.use(tokens: [token])
        #expect(
            ask("bearer  \(text)")
                == .known(
                    Caller(
                        name: "token:ci", address: "10.0.0.1", node: NodeID(unchecked: "n-1"), grant: token.grant,
                        token: token.fingerprint)))
        #expect(keeper.takeUses() == [token.hash: clock.wall])
        #expect(keeper.takeUses().isEmpty)
        clock.move(59)
        #expect(status("Bearer \(text)") == 200)
        clock.move(1)
        #expect(status("Bearer \(text)") == 401)
        keeper.use(tokens: [])
        #expect(status("Bearer \(text)", from: "10.0.0.2") == 401)
    }

    @Test func `the bootstrap token is an admin's until it is taken away`() {
        keeper.use(bootstrapHash: TokenText.hash(text))
        guard case .known(let caller) = ask("Bearer \(text)") else {
            Issue.record("not known")
            return
        }
        #expect(caller.name == "bootstrap" && caller.grant == AccessGrant(role: .admin) && caller.token == nil)
        keeper.use(bootstrapHash: nil)
        #expect(status("Bearer \(text)") == 401)
    }

    @Test func `who fails too often is locked out, with good credentials too, and alone`() {
        keeper.use(tokens: [token])
        for _ in 0..<50 { #expect(status(nil) == 401) }
        for _ in 0..<4 { #expect(status("Bearer wrong") == 401) }
        guard case .unknown(let problem) = ask("Bearer \(text)") else {
            Issue.record("not locked out")
            return
        }
        #expect(problem.status == 429 && problem.retryAfterSeconds == 30)
        #expect(status("Bearer \(text)", from: "10.0.0.2") == 200)
        clock.move(30)
        #expect(status("Bearer \(text)") == 200)
        #expect(keeper.failures == 4)
    }

    @Test(arguments: ["Basic YTpi", "Bearer", "Bearer a b", "", "Bearer orc_short", "orc_x", "Bearer a.b.c"])
    func `other credentials are refused`(_ header: String) { #expect(status(header) == 401) }
}
