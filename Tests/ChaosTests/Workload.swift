import Foundation
import NIOHTTP1
import OrchestryModel
import Synchronization
import TestSupport

/// Clients of the REST facade at work while something breaks: each does one thing after the other, through one node
/// after the other. Like the CLI, a client that gets no answer, or 503, asks the next node under the same idempotency
/// key until its patience ends.
final class Workload: Sendable {
    /// One write, with all its attempts.
    struct Write: Sendable {
        enum Outcome: Sendable, Hashable {
            case accepted(revision: Int?)
            /// The last answer said no.
            case refused(status: Int, text: String)
            case unanswered
        }
        var key: String
        var app: String
        var client: String
        /// nil: scaled, which makes no revision.
        var marker: Int?
        var invoked: Int64
        var returned: Int64
        var outcome: Outcome
        var attempts: Int

        var isAccepted: Bool { if case .accepted = outcome { true } else { false } }
    }

    struct Read: Sendable {
        var app: String
        var client: String
        var invoked: Int64
        var returned: Int64
        var value: RevisionHistory.Value
    }

    struct Record: Sendable {
        var writes: [Write] = []
        var reads: [Read] = []
        /// Answers 503 that a client saw on its way.
        var notNow = 0
        /// Of these, such without Retry-After.
        var notNowWithoutHint = 0
        /// Attempts that got no answer: connection refused or reset, or the time limit.
        var unanswered = 0
    }

    let cluster: ChaosCluster
    /// Apps whose specification is written and read.
    let apps: [String]
    /// An app that is scaled, so that agents get commands.
    let scaled: String
    /// How long a client goes on trying one write.
    let patience: Duration
    /// How long it waits for one answer.
    let answerLimit: Duration
    private let record = Mutex(Record())
    private let isStopped = Atomic(false)
    private let numbers = Atomic(0)
    private static let pause = Duration.milliseconds(25)

    /// - Parameter label: makes app names new.
    init(
        _ cluster: ChaosCluster, label: String, patience: Duration = .seconds(25),
        answerLimit: Duration = .milliseconds(2_500)
    ) {
        self.cluster = cluster
        apps = ["\(label)-a", "\(label)-b"]
        scaled = "\(label)-s"
        self.patience = patience
        self.answerLimit = answerLimit
    }

    var seen: Record { record.withLock { $0 } }

    /// Registers the apps: revision 1, marker 0.
    func prepare() async throws {
        for app in apps + [scaled] {
            let write = await self.write(client: "setup-\(app)", app: app, marker: 0, turn: 0)
            guard write.outcome == .accepted(revision: 1) else {
                throw ChaosFailure("\(app) can't be registered: \(write.outcome)")
            }
        }
        record.withLock { $0 = Record() }
    }

    /// Runs until `stop`, and until the last client is done.
    func run() async {
        await withDiscardingTaskGroup { group in
            for (index, app) in apps.enumerated() {
                for writer in 0..<2 {
                    let first = index + writer
                    group.addTask { await self.keepWriting(app, client: "\(app)/w\(writer)", first: first) }
                }
                group.addTask { await self.keepReading(app, client: "\(app)/r", first: index + 2) }
            }
            group.addTask { await self.keepScaling() }
        }
    }

    func stop() { isStopped.store(true, ordering: .relaxed) }

    /// Accepted writes that were begun at or after a moment of the machine's clock.
    func accepted(since moment: Int64) -> Int {
        record.withLock { $0.writes.count { $0.isAccepted && $0.invoked >= moment } }
    }

    // MARK: Clients

    private var goesOn: Bool { !isStopped.load(ordering: .relaxed) && !Task.isCancelled }

    private func keepWriting(_ app: String, client: String, first: Int) async {
        var turn = first
        while goesOn {
            let marker = numbers.add(1, ordering: .relaxed).newValue
            let write = await self.write(client: client, app: app, marker: marker, turn: turn)
            record.withLock { $0.writes.append(write) }
            turn += 1
            // Cancelled: the loop's condition ends it.
            try? await Task.sleep(for: Self.pause)
        }
    }

    private func keepScaling() async {
        var turn = 0
        while goesOn {
            let write = await self.write(client: "\(scaled)/s", app: scaled, marker: nil, turn: turn)
            record.withLock { $0.writes.append(write) }
            turn += 1
            try? await Task.sleep(for: Self.pause * 8)  // As above.
        }
    }

    private func keepReading(_ app: String, client: String, first: Int) async {
        var turn = first
        while goesOn {
            let member = cluster.members[turn % cluster.members.count]
            if let read = await self.read(app, client: client, from: member) {
                record.withLock { $0.reads.append(read) }
            }
            turn += 1
            try? await Task.sleep(for: Self.pause)  // As above.
        }
    }

    /// - Returns: nil when there was no answer, which tells nothing.
    func read(_ app: String, client: String, from member: ChaosCluster.Member) async -> Read? {
        let invoked = machineNanoseconds()
        // No answer: the client asks somebody else next time.
        guard let answer = try? await cluster.send(.GET, "/apps/\(app)/raw", to: member, within: answerLimit),
            answer.status == 200, let value = Self.value(in: answer.json)
        else { return nil }
        return Read(app: app, client: client, invoked: invoked, returned: machineNanoseconds(), value: value)
    }

    private static func value(in answer: JSONValue) -> RevisionHistory.Value? {
        let variables = answer["raw"]?["environment"]?.arrayValue ?? []
        guard let revision = answer["parsed"]?["revision"]?.intValue,
            let marker = variables.first(where: { $0["name"] == "MARKER" })?["value"]?.stringValue.flatMap({ Int($0) })
        else { return nil }
        return .init(revision: revision, marker: marker)
    }

    /// - Parameters:
    ///   - marker: what to write into the specification; nil: scale, to one to three replicas.
    ///   - turn: says which node is asked first.
    func write(client: String, app: String, marker: Int?, turn: Int) async -> Write {
        let key = "\(client)-\(marker ?? turn)".replacing("/", with: "-")
        let body: JSONValue = marker.map { Self.document(app, marker: $0) } ?? ["replicas": .int(Int64(1 + turn % 3))]
        let path = marker == nil ? "/apps/\(app)/scale" : "/apps/register"
        let deadline = ContinuousClock.now + patience
        let invoked = machineNanoseconds()
        var outcome = Write.Outcome.unanswered
        var attempts = 0
        repeat {
            let member = cluster.members[(turn + attempts) % cluster.members.count]
            attempts += 1
            do {
                let answer = try await cluster.send(
                    .POST, path, to: member, body: body, key: key, within: answerLimit)
                if answer.status == 200 {
                    outcome = .accepted(revision: answer.json["revision"]?.intValue)
                    break
                }
                outcome = .refused(status: answer.status, text: answer.json["detail"]?.stringValue ?? "")
                guard answer.status == 503 else { break }
                record.withLock {
                    $0.notNow += 1
                    if answer.retryAfter == nil { $0.notNowWithoutHint += 1 }
                }
            } catch {
                record.withLock { $0.unanswered += 1 }
            }
            // A round through all nodes, then a breath.
            if attempts % cluster.members.count == 0 { try? await Task.sleep(for: .milliseconds(100)) }  // As above.
        } while ContinuousClock.now < deadline
        return Write(
            key: key, app: app, client: client, marker: marker, invoked: invoked, returned: machineNanoseconds(),
            outcome: outcome, attempts: attempts)
    }

    static func document(_ app: String, marker: Int) -> JSONValue {
        [
            "apiVersion": "v1", "kind": "App", "metadata": ["name": .string(app)],
            "spec": [
                "type": "http", "image": "none:1", "pullPolicy": "Never",
                "ports": [["containerPort": 9010, "protocol": "HTTP"]],
                "resources": ["cpu": "10m", "memory": "16Mi"],
                "environment": [["name": "MARKER", "value": .string(String(marker))]],
            ],
            "scaling": ["mode": "manual", "minReplicas": 1, "maxReplicas": 6],
        ]
    }
}

extension Workload.Record {
    /// What clients saw of one app.
    func history(of app: String) -> RevisionHistory {
        let written = writes.filter { $0.app == app }.compactMap { write -> RevisionHistory.Operation? in
            guard let marker = write.marker else { return nil }
            let revision: Int?
            switch write.outcome {
            case .accepted(let given): revision = given
            // A refusal other than "not now" says that nothing happened.
            case .refused(let status, _): if status != 503 { return nil } else { revision = nil }
            case .unanswered: revision = nil
            }
            return .init(
                client: write.client, action: .write(marker: marker, revision: revision), invoked: write.invoked,
                returned: write.returned)
        }
        let read = reads.filter { $0.app == app }.map {
            RevisionHistory.Operation(
                client: $0.client, action: .read($0.value), invoked: $0.invoked, returned: $0.returned)
        }
        return RevisionHistory(initial: .init(revision: 1, marker: 0), operations: written + read)
    }
}
