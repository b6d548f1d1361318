import NIOCore
import OrchestryModel
import WireProtocol

/// SplitMix64 (Steele, Lea, Flood 2014): one seed, one sequence.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64
    init(seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}

/// Valid messages of every type with every field varied.
struct MessageMaker {
    var random: SeededGenerator
    init(seed: UInt64) { random = SeededGenerator(seed: seed) }

    mutating func chance() -> Bool { Bool.random(using: &random) }
    mutating func int(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &random) }
    /// Any size of number is as likely as any other.
    mutating func number(upTo limit: UInt64 = .max) -> UInt64 {
        min(limit, UInt64.random(in: 0 ... .max, using: &random) >> UInt64(int(0...63)))
    }
    mutating func maybe<T>(_ make: (inout Self) -> T) -> T? { chance() ? make(&self) : nil }
    mutating func list<T>(_ limit: Int = 4, _ make: (inout Self) -> T) -> [T] {
        (0..<int(0...limit)).map { _ in make(&self) }
    }
    mutating func text(_ limit: Int = 20) -> String {
        let alphabet = Array("abc xyz09.-_/äß€🚀\"\\\n")
        return String((0..<int(0...limit)).map { _ in alphabet[int(0...(alphabet.count - 1))] })
    }
    mutating func name(_ limit: Int = 63) -> String {
        let letters = Array("abcdefghijklmnopqrstuvwxyz0123456789")
        return String((0..<int(1...limit)).map { _ in letters[int(0...35)] })
    }
    mutating func double(_ range: ClosedRange<Double>) -> Double { Double.random(in: range, using: &random) }
    mutating func time() -> WallTime { WallTime(milliseconds: Int64(number(upTo: 253_402_300_799_999))) }
    mutating func epoch() -> Epoch { Epoch(number()) }
    mutating func node() -> NodeID { NodeID(unchecked: name()) }
    mutating func app() -> AppName { AppName(unchecked: name()) }
    mutating func instance() -> InstanceID { InstanceID(unchecked: name(80)) }
    mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(int(0...255)) } }
    mutating func endpoint() -> Endpoint {
        Endpoint(host: chance() ? "172.30.0.\(int(1...254))" : "fd00::7", port: int(1...65_535))
    }

    mutating func document(depth: Int = 0) -> JSONValue {
        switch int(0...(depth > 3 ? 4 : 6)) {
        case 0: return .null
        case 1: return .bool(chance())
        case 2: return .int(Int64(bitPattern: number()))
        case 3: return .double(double(-1e9...1e9))
        case 4: return .string(text())
        case 5: return .array(list { $0.document(depth: depth + 1) })
        default:
            let members = list { ($0.name(8), $0.document(depth: depth + 1)) }
            return .object(Dictionary(members, uniquingKeysWith: { first, _ in first }))
        }
    }

    mutating func nodeInfo() -> NodeInfo {
        NodeInfo(
            id: node(), role: chance() ? .controller : .worker, host: text(), clusterPort: int(0...65_535),
            apiURL: text())
    }

    mutating func routing() -> AppSpec.Routing {
        AppSpec.Routing(
            hosts: list { $0.text() }, pathPrefix: "/" + text(),
            method: [.leastConnections, .ipHash, .random][int(0...2)], listenPort: maybe { $0.int(1...65_535) },
            maxBodyBytes: Int64(number(upTo: (1 << 53) - 1)), readTimeoutSeconds: int(1...3600),
            tls: maybe {
                .init(certificateSecret: $0.secretName(), keySecret: $0.secretName(), redirect: $0.chance())
            },
            allow: maybe { [$0.range(), $0.range()] }, deny: maybe { [$0.range()] },
            maintenance: maybe { maker in
                .init(
                    retryAfterSeconds: maker.int(1...86_400),
                    message: maker.maybe { "m" + $0.name(20) })
            })
    }

    mutating func range() -> AddressRange {
        let text =
            chance() ? "10.\(int(0...255)).\(int(0...255)).0/\(int(0...32))" : "fd00:\(int(0...9999))::/\(int(0...128))"
        // Both forms are ranges by the type's own rule.
        return AddressRange(rawValue: text)!
    }

    mutating func secretName() -> SecretName { SecretName(unchecked: "s" + name(8)) }

    mutating func sealed() -> SealedSecret {
        SealedSecret(name: secretName(), version: int(0...1000), keyID: "k" + name(15), box: "b" + text(200))
    }

    mutating func spec() -> AppSpec {
        let name = app()
        return AppSpec(
            name: name, labels: ["team": text()], kind: chance() ? .http : .worker, image: text(),
            pullPolicy: chance() ? .always : .never, imagePullSecret: maybe { $0.secretName() },
            command: maybe { $0.list { $0.text() } },
            arguments: maybe { $0.list { $0.text() } }, workingDirectory: maybe { $0.text() },
            environment: list {
                .init(
                    name: $0.name(),
                    source: [.value($0.text()), .sdk("instance.ip"), .secret($0.secretName())][$0.int(0...2)])
            },
            ports: list { .init(containerPort: $0.int(1...65_535), scheme: .tcp, name: $0.maybe { $0.text() }) },
            resources: .init(cpuMillicores: int(10...16_000), memoryBytes: Int64(int(6 << 20...64 << 30))),
            security: .init(
                user: maybe { $0.text() }, allowRoot: chance(), addCapabilities: list { $0.text() },
                seccompProfile: maybe { $0.text() }),
            volumes: list {
                .init(kind: .bind, source: $0.text(), target: $0.text(), sizeBytes: $0.maybe { Int64($0.int(0...9)) })
            },
            logs: maybe { .init(maxSizeBytes: Int64($0.int(0...99)), maxFiles: $0.maybe { $0.int(1...9) }) },
            network: maybe { .init(isolated: $0.chance()) },
            routing: routing(), termination: .init(drainSeconds: int(0...3600)),
            rollout: .init(
                surge: chance() ? .count(int(0...100)) : .percent(int(0...100)), minHealthySeconds: int(0...1) * 30,
                strategy: chance() ? .canary : .rolling,
                canary: maybe { .init(maxP95Factor: $0.maybe { $0.double(1...100) }) },
                release: maybe { random in .init(command: random.list { $0.text() }) }),
            health: .init(
                kind: .http, port: maybe { $0.int(1...65_535) }, headers: ["x": text()], body: maybe { $0.text() },
                expectedStatuses: list { $0.int(200...599) },
                expectedStatusRanges: list { .init(first: $0.int(100...200), last: $0.int(200...599)) },
                command: maybe { $0.list { $0.text() } }, initialDelaySeconds: double(0...3600),
                periodSeconds: double(0.1...3600)),
            liveness: maybe { .init(kind: .command, command: [$0.text()]) },
            scaling: .init(
                mode: chance() ? .auto : .manual, minReplicas: int(0...1), maxReplicas: int(1...1000),
                targetRPS: maybe { $0.double(0...1e6) },
                maxScaleOutStep: maybe { $0.int(1...1000) },
                scaleOutPolicies: list { .init(.percent, $0.int(1...1000), periodSeconds: $0.int(1...3600)) }))
    }

    mutating func status() -> InstanceStatus {
        InstanceStatus(
            instance: instance(), app: app(), revision: int(0...1_000_000), node: node(),
            state: InstanceState.allCases[int(0...(InstanceState.allCases.count - 1))],
            containerID: maybe { $0.name(64) }, endpoint: maybe { $0.endpoint() }, restarts: int(0...1_000_000),
            failures: int(0...1000), exitCode: maybe { $0.int(-1...255) }, outOfMemory: chance(), message: text(),
            startedAt: maybe { $0.time() }, lastProbeAt: maybe { $0.time() }, since: time())
    }

    mutating func table() -> RoutingTable {
        RoutingTable(
            version: RoutingTable.Version(epoch: epoch(), number: number()),
            routes: list {
                RoutingTable.Route(
                    app: $0.app(), routing: $0.routing(),
                    targets: $0.list {
                        .init(instance: $0.instance(), endpoint: $0.endpoint(), weight: $0.int(1...100))
                    }, secrets: $0.chance() ? [] : [$0.sealed(), $0.sealed()],
                    activation: $0.maybe {
                        .init(holds: $0.chance(), holdSeconds: $0.int(1...300), holdLimit: $0.int(1...100_000))
                    })
            })
    }

    mutating func sample() -> Sample {
        var latency = LatencyHistogram()
        for _ in 0..<int(0...40) { latency.record(microseconds: number(upTo: 1 << 33), count: 1 + number(upTo: 1000)) }
        let counter: UInt64 = 1 << 32
        return Sample(
            app: app(), node: node(), second: Int64(number(upTo: 253_402_300_799)), interval: double(0.001...10),
            requests: number(upTo: counter), statusClasses: (0..<5).map { _ in number(upTo: counter) },
            requestSeconds: double(0...1e6), inFlight: number(upTo: counter), latency: latency,
            instances: list {
                InstanceSample(
                    instance: $0.instance(), cpuPercent: $0.maybe { $0.double(0...1600) },
                    memoryPercent: $0.maybe { $0.double(0...100) }, requests: $0.number(upTo: counter),
                    errors: $0.number(upTo: counter), inFlight: $0.number(upTo: counter),
                    latency: $0.chance() ? latency : nil)
            })
    }

    mutating func event() -> Event {
        Event(
            node: node(), sequence: Int64(number(upTo: UInt64(Int64.max))), time: time(), app: maybe { $0.app() },
            kindName: name(50), message: text(200), details: document())
    }

    mutating func decision() -> ScalingDecision {
        ScalingDecision(
            node: node(), sequence: Int64(number(upTo: UInt64(Int64.max))), epoch: epoch(), time: time(), app: app(),
            fromReplicas: int(0...1000), toReplicas: int(0...1000), reason: text(100), triggeredBy: "autoscaler",
            metrics: document(), explanation: document())
    }

    mutating func condition() -> SpecCondition {
        switch int(0...2) {
        case 0: .exists
        case 1: .absent
        default: .oneOf(list { $0.text(20) })
        }
    }

    mutating func grant() -> AccessGrant {
        AccessGrant(
            role: Role.allCases[int(0...2)],
            verbs: maybe { maker in Verb.allCases.filter { _ in maker.chance() } }, apps: maybe { $0.list { $0.app() } }
        )
    }

    mutating func caller() -> Caller {
        Caller(
            name: text(), address: maybe { $0.text() }, node: maybe { $0.node() }, grant: maybe { $0.grant() },
            token: maybe { $0.text() }, credential: maybe { $0.text() })
    }

    mutating func operation() -> Operation {
        switch int(0...27) {
        case 0: .register(document: document(), condition: maybe { $0.condition() })
        case 1: .scale(app(), replicas: int(0...100), forSeconds: maybe { $0.int(1...9) })
        case 2: .setPolicy(app(), policy: document(), condition: maybe { $0.condition() })
        case 3:
            .simulateMetrics(app(), SimulatedMetrics(rps: double(0...1e6), healthyReplicas: maybe { $0.int(0...9) }))
        case 4: .events(app: maybe { $0.app() }, limit: int(1...1000))
        case 5: .stepDown
        case 6: .rollback(app(), to: maybe { $0.int(1...1000) })
        case 7: .drainNode(node(), deadlineSeconds: int(1...86_400))
        case 8: .uncordonNode(node())
        case 9: .rebalance(maxMoves: int(1...100))
        case 10: .listNodes
        case 17: .overview
        case 18:
            .followLog(instance(), session: text(20), cursor: maybe { $0.text(40) }, tail: maybe { $0.int(0...100) })
        case 20: .eventsAfter(Int64(int(0...9)), limit: int(0...1000))
        case 19: .appHistory(app(), minutes: int(1...1440))
        case 11: .autoscale(app(), AutoscaleChange(.pause, .in, forSeconds: maybe { $0.int(1...9) }))
        case 12:
            .simulate(
                app(),
                SimulationRequest(
                    policy: document(), sinceSeconds: int(60...90), capacityPerInstance: maybe { $0.double(1...9) }))
        case 13:
            .createToken(
                TokenRequest(
                    name: TokenName(unchecked: "ci"), grant: grant(), expiresSeconds: maybe { $0.int(1...9) },
                    hash: text()))
        case 14: .revokeToken(TokenName(unchecked: "ci.2"))
        case 15: .tokensInForce
        case 16:
            .audit(
                app: maybe { $0.app() }, after: maybe { Int64($0.int(0...9)) }, limit: int(1...1000), isRaw: chance())
        case 21: .plan(documents: list { $0.document() })
        case 22: .usageOfApps
        case 24: .restore(checksum: text(64), merge: chance())
        case 25: .changeSettings(["log.level": .string(text(9)), "retention.events_days": .int(Int64(int(1...9)))])
        case 26: .backup
        case 23:
            .exec(
                app(), instance(),
                ExecCommand(
                    words: list { $0.text() }, hasInput: chance(),
                    terminal: maybe { .init(columns: $0.int(1...99), rows: $0.int(1...99)) }))
        default: .why(app())
        }
    }

    mutating func message(of type: MessageType) -> Message {
        switch type {
        case .hello:
            .hello(
                Hello(
                    cluster: ClusterID(unchecked: name()), node: nodeInfo(), incarnation: number(),
                    channel: chance() ? .control : .bulk, features: number(), nonce: chance() ? [] : bytes(32)))
        case .helloChallenge: .helloChallenge(nonce: bytes(32), proof: bytes(32))
        case .helloAccepted:
            .helloAccepted(
                HelloAccepted(
                    version: UInt16(int(1...65_535)), node: nodeInfo(), incarnation: number(), features: number()))
        case .helloProof: .helloProof(bytes(32))
        case .error: .error(code: ErrorCode(rawValue: UInt16(int(1...65_535))), message: text())
        case .ping: .ping
        case .pong: .pong
        case .renew: .renew
        case .heartbeat: .election(.heartbeat(epoch: epoch(), sentAt: number()))
        case .heartbeatAck: .election(.heartbeatAck(epoch: epoch(), sentAt: number()))
        case .voteRequest: .election(.voteRequest(round: UInt32(number(upTo: UInt64(UInt32.max)))))
        case .voteReply:
            .election(
                .voteReply(
                    round: UInt32(number(upTo: UInt64(UInt32.max))), granted: chance(), highestEpoch: epoch()))
        case .released: .election(.released(epoch: epoch()))
        case .inventory:
            .inventory(
                Inventory(
                    node: node(), highestEpoch: epoch(), capacityMillicores: int(0...1_000_000),
                    capacityMemoryBytes: Int64(number(upTo: (1 << 53) - 1)), engineAvailable: chance(),
                    instances: list { $0.status() }))
        case .instanceCommand: .instanceCommand(epoch: epoch(), command: command())
        case .commandAck: .commandAck
        case .refused: .refused(epoch: epoch())
        case .instanceStatus: .instanceStatus(status())
        case .routingTable: .routingTable(table())
        case .routingAck: .routingAck(RoutingTable.Version(epoch: epoch(), number: number()))
        case .sampleBatch: .sampleBatch(list { $0.sample() })
        case .eventBatch: .eventBatch(events: list { $0.event() }, decisions: list { $0.decision() })
        case .eventAck:
            .eventAck(eventsUpTo: Int64(number(upTo: 1 << 62)), decisionsUpTo: Int64(number(upTo: 1 << 62)))
        case .heldRequests:
            .heldRequests(
                HeldRequests(
                    canHold: chance(), waiting: list { .init(app: $0.app(), requests: 1 + $0.number(upTo: 1 << 31)) }))
        case .forwardRequest:
            .forwardRequest(
                ControlRequest(
                    operation: operation(), idempotencyKey: text(), actor: text(), caller: maybe { $0.caller() }),
                deadlineMilliseconds: number(upTo: 86_400_000))
        case .forwardResponse:
            .forwardResponse(
                ControlResponse(status: int(200...599), body: document(), retryAfterSeconds: maybe { $0.int(1...9) }))
        case .logRequest: .logRequest(instance: instance(), tailLines: int(0...100_000))
        case .logChunk: .logChunk(lines: list(20) { $0.text(200) }, isLast: chance())
        case .execRequest:
            .execRequest(
                session: number(),
                request: ControlRequest(
                    operation: operation(), idempotencyKey: text(), actor: text(), caller: maybe { $0.caller() }))
        case .execData: .execData(session: number(), isToRunner: chance(), frame: execFrame())
        }
    }

    mutating func execFrame() -> ExecFrame {
        switch int(0...7) {
        case 0: .input(ByteBuffer(bytes: bytes(int(1...32))))
        case 1: .output(ByteBuffer(bytes: bytes(int(1...32))))
        case 2: .errors(ByteBuffer(bytes: bytes(int(1...32))))
        case 3: .resize(.init(columns: int(1...65_535), rows: int(1...65_535)))
        case 4: .endOfInput
        case 5: .credit(int(1...ExecFlow.window))
        case 6: .exited(status: int(0...255))
        default: .ended(reason: text())
        }
    }

    mutating func command() -> InstanceCommand {
        switch int(0...2) {
        case 0:
            .run(
                Assignment(
                    instance: instance(), revision: int(1...1000), node: node(), spec: spec(), replicas: int(0...1000),
                    secrets: list { $0.sealed() }))
        case 1: .stop(instance(), graceSeconds: int(0...600))
        default: .retry(instance())
        }
    }
}
