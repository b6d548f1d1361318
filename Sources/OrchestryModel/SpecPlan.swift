/// What registering a document would do to the app it names. Made by the leader for `POST /apps/plan`; nothing changes.
public struct SpecPlan: Hashable, Sendable {
    public enum Change: String, Hashable, Sendable {
        /// There is no such app yet.
        case create
        /// A new revision: containers are made from something else.
        case revision
        /// What runs stays: scaling, routing, checks and the like.
        case settings
        /// Only the stored document: it says the same in other words.
        case wording
        case none
    }

    public var app: AppName
    public var change: Change
    /// Now; nil: there is no such app.
    public var currentRevision: Int?
    /// After the change.
    public var revision: Int
    /// Of the present spec, for `If-Match`; nil: there is none.
    public var tag: String?
    public var status: Application.Status
    /// Wanted now, and after the change as well: it never resets the count.
    public var replicas: Int
    public var differences: [SpecDifference]
    /// What the change does, in sentences.
    public var effects: [String]
    /// What should be known before, in sentences.
    public var warnings: [String]

    /// - Parameters:
    ///   - next: the app as it would be, its secrets included.
    ///   - current: as it is; nil: not registered.
    ///   - rollout: the revision whose rollout is under way; nil: none.
    public init(to next: Application, from current: Application?, rollout: Int? = nil) {
        app = next.name
        currentRevision = current?.revision
        revision = next.revision
        tag = current?.tag
        status = next.status
        replicas = next.replicas
        differences =
            current.map {
                SpecDifference.between(
                    AppSpec.document(flat: $0.document, name: $0.name),
                    and: AppSpec.document(flat: next.document, name: next.name))
            } ?? []
        if let current {
            if AppSpec.needsNewRevision(from: current.spec, to: next.spec) {
                change = .revision
            } else if current.spec != next.spec {
                change = .settings
            } else {
                change = differences.isEmpty ? .none : .wording
            }
        } else {
            change = .create
        }
        effects = Self.effects(change, next, current, rollout)
        warnings = []
        if change != .none, let reason = next.reasonToHold {
            warnings.append("No new instance starts until this is done: \(reason).")
        }
    }

    private static func effects(
        _ change: Change, _ next: Application, _ current: Application?, _ rollout: Int?
    ) -> [String] {
        guard let current else {
            return [
                "Registers the app as revision \(next.revision) with image \(next.spec.image). It is stopped until it is "
                    + "started: then \(counted(next.spec.scaling.leastAwake, "instance"))."
            ]
        }
        switch change {
        case .create, .none: return []
        case .wording: return ["Nothing that runs changes: the document says the same in other words."]
        case .settings: return settings(next, current)
        case .revision: return [rollingUpdate(next, current, rollout)] + settings(next, current)
        }
    }

    private static func rollingUpdate(_ next: Application, _ current: Application, _ rollout: Int?) -> String {
        guard current.status == .running else {
            return "Makes revision \(next.revision). The app is stopped: nothing restarts."
        }
        guard current.replicas > 0 else {
            return "Makes revision \(next.revision). The app is idle: its next instance is of it, nothing restarts."
        }
        let policy = next.spec.rollout
        var words = "Makes revision \(next.revision) and replaces \(counted(current.replicas, "instance")) by a "
        words += policy.strategy == .canary ? "canary, then a rolling update" : "rolling update"
        words += " (at most \(described(policy.surge)) more and \(described(policy.unavailable)) fewer at once)"
        if policy.release != nil { words += ", after its release command has ended well" }
        words += "."
        if let rollout { words += " It takes the place of the rollout of revision \(rollout), which is under way." }
        return words
    }

    private static func described(_ amount: AppSpec.RolloutPolicy.Amount) -> String {
        switch amount {
        case .count(let count): "\(count)"
        case .percent(let percent): "\(percent)%"
        }
    }

    /// What takes effect on the instances that run.
    private static func settings(_ next: Application, _ current: Application) -> [String] {
        let (old, new) = (current.spec, next.spec)
        var effects: [String] = []
        if old.scaling != new.scaling {
            effects.append("The autoscaler goes by the new policy from its next evaluation on; nothing restarts.")
            if let bounds = bounds(next) { effects.append(bounds) }
        }
        let ports = old.ports.map(\.scheme) != new.ports.map(\.scheme)
        if old.routing != new.routing || old.kind != new.kind || ports {
            effects.append("Every node's proxy takes over the new routing; nothing restarts.")
        }
        if old.routing.maintenance == nil, new.routing.maintenance != nil {
            effects.append("From then on the proxy answers 503 in the app's place.")
        }
        if old.health != new.health || old.liveness != new.liveness {
            effects.append("Instances are probed by the new checks at once; nothing restarts.")
        }
        if old.termination != new.termination {
            effects.append("Instances that stop from then on are given the new times.")
        }
        if old.rollout != new.rollout { effects.append("Rollouts from then on go by the new rollout policy.") }
        if old.pullPolicy != new.pullPolicy || old.imagePullSecret != new.imagePullSecret {
            effects.append("The next pull of the image goes by the new settings.")
        }
        if old.labels != new.labels { effects.append("The new labels are shown; nothing restarts.") }
        if effects.isEmpty, !AppSpec.needsNewRevision(from: old, to: new) { effects.append("Nothing restarts.") }
        return effects
    }

    /// The count is the autoscaler's, but it keeps to the bounds.
    private static func bounds(_ next: Application) -> String? {
        let policy = next.spec.scaling
        guard next.status == .running, next.replicas > 0, policy.mode == .auto else { return nil }
        if next.replicas < policy.minReplicas {
            return "\(next.replicas) are wanted now, minReplicas is \(policy.minReplicas): it goes there."
        }
        if next.replicas > policy.maxReplicas {
            return "\(next.replicas) are wanted now, maxReplicas is \(policy.maxReplicas): it goes there."
        }
        return nil
    }

    private static func counted(_ number: Int, _ noun: String) -> String {
        "\(number) \(noun)\(number == 1 ? "" : "s")"
    }

    public var json: JSONValue {
        func list(_ texts: [String]) -> JSONValue { .array(texts.map { .string($0) }) }
        return [
            "app": .string(app.rawValue), "change": .string(change.rawValue),
            "current_revision": currentRevision.map { JSONValue($0) } ?? .null, "revision": JSONValue(revision),
            "etag": tag.map { .string("\"\($0)\"") } ?? .null, "status": .string(status.rawValue),
            "replicas": JSONValue(replicas), "differences": .array(differences.map(\.json)),
            "effects": list(effects), "warnings": list(warnings),
        ]
    }
}

extension Operation {
    /// Most documents of one plan.
    public static let mostPlanned = 1_000

    /// The body of `POST /apps/plan`: `{"documents": [{…}, …]}`. Each document is read as well.
    /// - Throws: every rule that any of them breaks, as `documents[2].spec.image`.
    public static func parsePlan(_ body: JSONValue) throws(ValidationError) -> [JSONValue] {
        guard let members = body.objectValue, Set(members.keys) == ["documents"],
            let documents = members["documents"]?.arrayValue
        else {
            throw ValidationError([Violation("", "must be an object with documents alone: {\"documents\": [{…}]}")])
        }
        guard (1...mostPlanned).contains(documents.count) else {
            throw ValidationError([
                Violation("documents", "must be 1 to \(mostPlanned) documents, got \(documents.count)")
            ])
        }
        var violations: [Violation] = []
        var first: [AppName: Int] = [:]
        for (index, document) in documents.enumerated() {
            do {
                let name = try AppSpec.parse(document).spec.name
                if let earlier = first[name] {
                    violations.append(
                        Violation(
                            "documents[\(index)].metadata.name",
                            "must not name app \(name) again: documents[\(earlier)] does already"))
                } else {
                    first[name] = index
                }
            } catch {
                violations += error.placed(at: "documents[\(index)]").violations
            }
        }
        guard violations.isEmpty else { throw ValidationError(violations) }
        return documents
    }
}

extension ValidationError {
    /// The same about a document that is part of a larger one.
    public func placed(at path: String) -> ValidationError {
        ValidationError(
            violations.map { Violation($0.field.isEmpty ? path : "\(path).\($0.field)", $0.rule) })
    }
}
