import AccessControl
import Logging
import NodeConfiguration
import OrchestryModel
import PostgresStore
import RestFacade
import Synchronization

/// Settings in force on this node: its configuration, and over it what PostgreSQL has. While PostgreSQL is away they stay
/// as they were last.
final class RuntimeSettings: Sendable {
    private struct State {
        var stored: [String: String] = [:]
        var settings: DynamicSettings
    }
    private let configuration: NodeConfiguration
    private let logger: Logger
    private let state: Mutex<State>

    init(_ configuration: NodeConfiguration, logger: Logger) {
        self.configuration = configuration
        self.logger = logger
        state = Mutex(State(settings: configuration.dynamic))
    }

    var current: DynamicSettings { state.withLock { $0.settings } }

    /// - Parameter stored: texts by name, all there are.
    func take(_ stored: [String: String]) {
        guard state.withLock({ $0.stored }) != stored else { return }
        let (settings, problems) = configuration.dynamic(with: stored)
        let before = state.withLock { state in
            defer { state = State(stored: stored, settings: settings) }
            return state.stored
        }
        // A later release may have put there what this one does not know.
        for problem in problems {
            logger.warning(
                "A runtime setting is not used", metadata: ["setting": "\(problem.name)", "reason": "\(problem.rule)"])
        }
        if before["log.level"] != stored["log.level"] { JSONLogHandler.setLevel(settings.logLevel) }
        for name in Set(before.keys).union(stored.keys).sorted() where before[name] != stored[name] {
            logger.notice(
                "A setting has changed at run time",
                metadata: ["setting": "\(name)", "value": "\(stored[name] ?? configuration.text(of: name))"])
        }
    }

    // MARK: Answers

    /// `GET /settings`.
    static func list(
        from store: StateStore, over configuration: NodeConfiguration
    ) async throws(StoreError) -> ControlResponse {
        let stored = try await store.settings()
        return ControlResponse(body: Presentation.settings(view(stored, over: configuration)))
    }

    static func view(_ stored: [StoredSetting], over configuration: NodeConfiguration) -> [Presentation.Setting] {
        ConfigurationKey.catalogue.filter { DynamicSettings.names.contains($0.name) }
            .sorted { $0.name < $1.name }
            .map { key in
                let found = stored.first { $0.key == key.name }
                return Presentation.Setting(
                    name: key.name, kind: key.kind.rawValue, value: found?.text,
                    configured: configuration.text(of: key.name), configuredFrom: configuration.source(of: key.name),
                    updatedAt: found?.updatedAt, updatedBy: found?.updatedBy, summary: key.summary)
            }
    }
}

extension Node {
    /// Looks twice a second. Runs until cancelled.
    func followSettings() async {
        while !Task.isCancelled {
            // No answer, or no table yet: what is known stays.
            if let stored = await storedSettings() { settings.take(stored) }
            do { try await Task.sleep(for: .milliseconds(500)) } catch { return }
        }
    }

    private func storedSettings() async -> [String: String]? {
        if let store = controller?.store {
            // As above.
            guard store.isAvailable, let stored = try? await store.settings() else { return nil }
            return Dictionary(stored.map { ($0.key, $0.text) }, uniquingKeysWith: { first, _ in first })
        }
        let request = ControlRequest(operation: .listSettings, idempotencyKey: "settings", actor: "\(id)")
        guard let answer = await readWithoutLeader(request), answer.status == 200,
            let list = answer.body["settings"]?.arrayValue
        else { return nil }
        return Dictionary(
            list.compactMap { setting in
                guard let name = setting["name"]?.stringValue, let value = setting["value"]?.stringValue else {
                    return nil
                }
                return (name, value)
            }, uniquingKeysWith: { first, _ in first })
    }
}

extension LeaderTerm {
    /// All of them or none.
    func planSettings(_ changes: JSONValue, _ request: ControlRequest) async throws -> Plan {
        let changes = changes.objectValue ?? [:]
        let configuration = surroundings.configuration
        var texts: [String: String] = [:]
        for (name, value) in changes {
            switch value {
            case .string(let text): texts[name] = text
            case .int(let number): texts[name] = String(number)
            case .double(let number): texts[name] = String(number)
            case .bool(let flag): texts[name] = String(flag)
            // Only its name counts.
            case .null, .array, .object: texts[name] = configuration.text(of: name)
            }
        }
        let problems = configuration.dynamic(with: texts).problems
        guard problems.isEmpty else {
            throw ValidationError(problems.map { Violation($0.name, $0.rule) })
        }
        let wall = surroundings.clock.wall()
        var stored = try await surroundings.store.settings()
        func picture() -> JSONValue {
            .object(Dictionary(stored.map { ($0.key, .string($0.text)) }, uniquingKeysWith: { first, _ in first }))
        }
        let pictureBefore = picture()
        var plan = Plan(response: ControlResponse(body: .null))
        for (name, value) in changes.sorted(by: { $0.key < $1.key }) {
            let before = stored.first { $0.key == name }?.text
            let after = value == .null ? nil : texts[name]
            guard before != after else { continue }
            stored.removeAll { $0.key == name }
            if let after {
                stored.append(StoredSetting(key: name, text: after, updatedAt: wall, updatedBy: request.actor))
            }
            let own = "each node's own configuration"
            plan.changes += [
                .saveSetting(name, after.map { .string($0) }, by: request.actor, at: wall),
                event(
                    .settingChanged, nil, "Setting \(name) was changed: \(before ?? own) → \(after ?? own)", request,
                    ["setting": .string(name), "from": JSONValue(before), "to": JSONValue(after)]),
            ]
        }
        plan.differences = DocumentDifference.between(pictureBefore, picture())
        plan.response.body = Presentation.settings(RuntimeSettings.view(stored, over: configuration))
        return plan
    }
}
