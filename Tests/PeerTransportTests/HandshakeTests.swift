import OrchestryModel
import PeerTransport
import Testing
import WireProtocol

/// The Hello exchange as a state machine; the connection tests run it over TCP.
@Suite struct HandshakeTests {
    private let nonce = Array(repeating: UInt8(1), count: 32)
    private let b = NodeID(unchecked: "node-b")

    private func local(_ name: String, role: NodeInfo.Role = .controller, secret: String? = nil) -> Handshake.Local {
        Handshake.Local(
            me: NodeInfo(id: NodeID(unchecked: name), role: role, host: "h", clusterPort: 1, apiURL: ""),
            cluster: ClusterID(unchecked: "test"), incarnation: 5, secret: secret.flatMap { SharedSecret($0) })
    }

    private func hello(
        _ name: String, role: NodeInfo.Role = .controller, versions: ClosedRange<UInt16> = 1...1,
        cluster: String = "test", nonce: [UInt8] = []
    ) -> Message {
        .hello(
            Hello(
                versions: versions, cluster: ClusterID(unchecked: cluster), node: local(name, role: role).me,
                incarnation: 6, channel: .bulk, nonce: nonce))
    }

    /// The code of the one step that ends the exchange.
    private func failure(_ steps: [Handshake.Step]) -> ErrorCode? {
        guard steps.count == 1 else { return nil }
        return switch steps[0] {
        case .fail(let code, _), .refused(let code, _): code
        default: nil
        }
    }

    @Test func `with certificates two messages are enough`() throws {
        var dialer = Handshake(side: .dialer(b, .bulk), local: local("node-a"))
        var acceptor = Handshake(side: .acceptor, local: local("node-b"))
        #expect(acceptor.begin(nonce: nonce) == [])
        guard case .send(let hello)? = dialer.begin(nonce: nonce).first else { throw PeerError.timedOut }
        let identity = PeerIdentity(node: local("node-a").me, incarnation: 5, channel: .bulk, version: 1)
        #expect(
            acceptor.receive(hello, certificateNames: ["other", "node-a"], nonce: nonce) == [
                .requestAdmission(identity)
            ])
        let steps = acceptor.admitted()
        #expect(steps.last == .establish(identity))
        guard case .send(let accepted)? = steps.first else { throw PeerError.timedOut }
        #expect(
            dialer.receive(accepted, certificateNames: ["node-b"], nonce: nonce)
                == [.establish(PeerIdentity(node: local("node-b").me, incarnation: 5, channel: .bulk, version: 1))])
        #expect(acceptor.admitted() == [], "once only")
    }

    @Test func `without them both sides prove the secret first`() throws {
        let secret = "sixteen bytes are enough"
        var dialer = Handshake(side: .dialer(b, .bulk), local: local("node-a", secret: secret))
        var acceptor = Handshake(side: .acceptor, local: local("node-b", secret: secret))
        _ = acceptor.begin(nonce: nonce)
        let fresh = Array(repeating: UInt8(2), count: 32)
        guard case .send(let hello)? = dialer.begin(nonce: nonce).first,
            case .send(let challenge)? = acceptor.receive(hello, certificateNames: nil, nonce: fresh).first,
            case .send(let proof)? = dialer.receive(challenge, certificateNames: nil, nonce: fresh).first
        else { throw PeerError.timedOut }
        // A proof that is sent back to its maker, or used for another exchange, is worth nothing.
        if case .helloChallenge(_, let reflected) = challenge {
            var other = acceptor
            #expect(
                failure(other.receive(.helloProof(reflected), certificateNames: nil, nonce: fresh)) == .notAuthenticated
            )
        }
        var later = Handshake(side: .acceptor, local: local("node-b", secret: secret))
        _ = later.begin(nonce: nonce)
        _ = later.receive(hello, certificateNames: nil, nonce: Array(repeating: 3, count: 32))
        #expect(failure(later.receive(proof, certificateNames: nil, nonce: fresh)) == .notAuthenticated)
        guard case .requestAdmission? = acceptor.receive(proof, certificateNames: nil, nonce: fresh).first else {
            throw PeerError.timedOut
        }
    }

    @Test func `an acceptor refuses what does not fit`() {
        let rows: [(Message, [String]?, ErrorCode)] = [
            (hello("node-a", versions: 2...3), ["node-a"], .noCommonVersion),
            (hello("node-a", cluster: "prod"), ["node-a"], .clusterMismatch),
            (hello("node-a"), ["node-c"], .identityMismatch), (hello("node-a"), [], .identityMismatch),
            (hello("node-b"), ["node-b"], .duplicateNode), (hello("node-c"), ["node-c"], .wrongDirection),
            (.ping, ["node-a"], .unexpectedMessage), (.helloProof(nonce), ["node-a"], .unexpectedMessage),
        ]
        for (message, names, code) in rows {
            var acceptor = Handshake(side: .acceptor, local: local("node-b"))
            _ = acceptor.begin(nonce: nonce)
            #expect(failure(acceptor.receive(message, certificateNames: names, nonce: nonce)) == code, "\(message)")
        }
        var plain = Handshake(side: .acceptor, local: local("node-b", secret: "sixteen bytes are enough"))
        _ = plain.begin(nonce: nonce)
        #expect(failure(plain.receive(hello("node-a"), certificateNames: nil, nonce: nonce)) == .notAuthenticated)
        var worker = Handshake(side: .acceptor, local: local("worker", role: .worker))
        _ = worker.begin(nonce: nonce)
        #expect(failure(worker.receive(hello("a"), certificateNames: ["a"], nonce: nonce)) == .wrongDirection)
    }

    @Test func `a dialler refuses what does not fit`() {
        func accepted(_ name: String, version: UInt16 = 1) -> Message {
            .helloAccepted(HelloAccepted(version: version, node: local(name).me, incarnation: 1))
        }
        let rows: [(Message, [String], ErrorCode)] = [
            (accepted("node-c"), ["node-c"], .identityMismatch), (accepted("node-b"), ["node-c"], .identityMismatch),
            (accepted("node-b", version: 2), ["node-b"], .noCommonVersion),
            (hello("node-b"), ["node-b"], .unexpectedMessage),
            (.helloChallenge(nonce: nonce, proof: nonce), ["node-b"], .unexpectedMessage),
            (.error(code: .shuttingDown, message: "bye"), ["node-b"], .shuttingDown),
        ]
        for (message, names, code) in rows {
            var dialer = Handshake(side: .dialer(b, .control), local: local("node-a"))
            _ = dialer.begin(nonce: nonce)
            #expect(failure(dialer.receive(message, certificateNames: names, nonce: nonce)) == code, "\(message)")
        }
    }

    @Test func `of two nodes exactly one dials`() {
        let names = ["a", "b"]
        for (one, other) in [(names[0], names[1]), (names[1], names[0])] {
            for role in [NodeInfo.Role.controller, .worker] {
                let dialer = local(one, role: role).me
                let acceptor = local(other).me
                let forward = Handshake.dials(dialer, acceptor)
                #expect(forward != Handshake.dials(acceptor, dialer))
                #expect(forward == (role == .worker || one < other))
            }
        }
        #expect(!Handshake.dials(local("a", role: .worker).me, local("b", role: .worker).me))
    }
}
