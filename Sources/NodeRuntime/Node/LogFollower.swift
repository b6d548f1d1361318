import Logging
import OrchestryModel
import RestFacade

/// Follows the output of all instances of an app, wherever they run, for one client.
///
/// Looks for instances each second, asks each one's node for the next lines one small page at a time, and merges. Nothing is
/// asked for while the client does not take what there is, so that a slow client costs a page an instance.
actor LogFollower: LogFollowing {
    struct Sources: Sendable {
        /// The app's instances and their nodes; nil: not known now.
        var instances: @Sendable () async throws(Problem) -> [InstanceID: NodeID]?
        /// The next lines of an instance; nil: its node does not answer.
        var page: @Sendable (NodeID, InstanceID, _ session: String, _ cursor: String?, _ tail: Int?) async -> JSONValue?
        var isStopping: @Sendable () -> Bool
        var clock: NodeClock
    }

    private struct Followed {
        var node: NodeID
        var cursor: String?
        /// Of the last lines to begin with; nil: all, since it came while the app was being followed.
        var tail: Int?
        /// It is no longer one of the app's; asked until it has nothing more.
        var leftAt: Instant?
    }

    private static let askEvery = Duration.milliseconds(300)
    private static let lookEvery = Duration.seconds(1)
    /// How long an instance that is gone is still asked for its last lines.
    private static let farewell = Duration.seconds(10)
    private static let mostWaitingBytes = 256 << 10

    private let sources: Sources
    private let tail: Int
    private let session = "\(UInt64.random(in: .min ... .max))"
    private var followed: [InstanceID: Followed] = [:]
    private var merger = LogMerger()
    private var hasLooked = false
    private var lookAt: Instant
    private var askAt: Instant

    init(sources: Sources, tail: Int) {
        self.sources = sources
        self.tail = tail
        lookAt = sources.clock.now()
        askAt = lookAt
    }

    func next(atMost: Duration) async throws(Problem) -> [Presentation.LogLine]? {
        let end = sources.clock.now() + atMost
        while !Task.isCancelled {
            if sources.isStopping() { return nil }
            let now = sources.clock.now()
            if now >= lookAt {
                try await look(at: now)
                lookAt = now + Self.lookEvery
            }
            if now >= askAt {
                // Where there was more than a page, the next one is asked for at once.
                askAt = await ask() ? now : now + Self.askEvery
            }
            let lines = merger.take(at: sources.clock.now())
            let after = sources.clock.now()
            if !lines.isEmpty || after >= end { return lines }
            let pause = min(askAt, lookAt, end)
            if pause > after {
                do { try await Task.sleep(for: pause - after) } catch { break }
            }
        }
        return []
    }

    private func look(at now: Instant) async throws(Problem) {
        guard let found = try await sources.instances() else { return }
        for (instance, node) in found {
            if followed[instance] == nil {
                followed[instance] = Followed(node: node, tail: hasLooked ? nil : tail)
                merger.join(instance, at: now)
            }
            followed[instance]?.leftAt = nil
        }
        for instance in followed.keys where found[instance] == nil && followed[instance]?.leftAt == nil {
            followed[instance]?.leftAt = now
        }
        hasLooked = true
    }

    /// A page of each instance. Those of one node come one after the other.
    /// - Returns: whether there is more.
    private func ask() async -> Bool {
        let wanted = followed.filter { merger.waitingBytes(of: $0.key) < Self.mostWaitingBytes }
        let byNode = Dictionary(grouping: wanted, by: \.value.node)
        let (page, session) = (sources.page, session)
        let answers = await withTaskGroup(of: [(InstanceID, JSONValue?)].self) { group in
            for (node, instances) in byNode {
                group.addTask {
                    var answers: [(InstanceID, JSONValue?)] = []
                    for (instance, state) in instances {
                        answers.append((instance, await page(node, instance, session, state.cursor, state.tail)))
                    }
                    return answers
                }
            }
            return await group.reduce(into: []) { $0 += $1 }
        }
        let now = sources.clock.now()
        var hasMore = false
        for (instance, answer) in answers {
            guard let answer, let state = followed[instance] else {
                forgetIfGone(instance, at: now, isOver: false)
                continue
            }
            let lines = (answer["lines"]?.arrayValue ?? []).compactMap { line(of: $0, answer, instance, state.node) }
            if let cursor = answer["cursor"]?.stringValue { followed[instance]?.cursor = cursor }
            if let until = answer["until"]?.intValue {
                merger.add(lines, of: instance, until: Int64(until), at: now)
            } else if !lines.isEmpty {
                merger.add(lines, of: instance, until: .min / 2, at: now)
            }
            hasMore = hasMore || answer["more"] == true
            forgetIfGone(instance, at: now, isOver: answer["over"] == true)
        }
        return hasMore
    }

    private func forgetIfGone(_ instance: InstanceID, at now: Instant, isOver: Bool) {
        guard let left = followed[instance]?.leftAt, isOver || now > left + Self.farewell else { return }
        followed[instance] = nil
        merger.end(instance)
    }

    private func line(
        of value: JSONValue, _ answer: JSONValue, _ instance: InstanceID, _ node: NodeID
    ) -> Presentation.LogLine? {
        guard let parts = value.arrayValue, parts.count == 2, let milliseconds = parts[0].intValue,
            let text = parts[1].stringValue
        else { return nil }
        return Presentation.LogLine(
            timestampSeconds: Double(milliseconds) / 1_000, containerID: answer["container"]?.stringValue ?? "",
            instance: instance, node: node, message: text)
    }
}
