import ArgumentParser
import OrchestryModel

struct Maintenance: AsyncParsableCommand {
    enum Switch: String, ExpressibleByArgument, CaseIterable { case on, off }

    static let configuration = CommandConfiguration(
        commandName: "maintenance",
        abstract: "Answer 503 in an app's place, or serve it again.",
        discussion: """
            Changes routing.maintenance in the app's spec: instances go on running, nothing restarts. A file applied later \
            without that field ends it, too.
              orchestry maintenance shop on --message "Back at 22:00" --retry-after 15m
              orchestry maintenance shop off
            """)
    @Argument(help: "The app.", completion: .apps) var name: String
    @Argument(help: "on or off.") var state: Switch
    @Option(help: "What visitors read.") var message: String?
    @Option(help: "When clients should come again, such as 15m.") var retryAfter: String?
    @OptionGroup var options: GlobalOptions

    func validate() throws {
        guard state == .on || message == nil && retryAfter == nil else {
            throw ArgumentParser.ValidationError("--message and --retry-after go with on")
        }
    }

    func run() async throws {
        let value = try maintenance()
        try await options.withClient { client in
            let answer = try await change(to: value, with: client, attempts: 3)
            Output.show(answer, as: options.output) { _ in
                state == .on
                    ? "\(name): in maintenance, visitors get 503. Next: orchestry maintenance \(name) off"
                    : "\(name): served again."
            }
        }
    }

    /// Null: none.
    private func maintenance() throws -> JSONValue {
        guard state == .on else { return .null }
        var members: [String: JSONValue] = [:]
        members["message"] = message.map { .string($0) }
        if let retryAfter {
            members["retryAfterSeconds"] = JSONValue(
                try ShortDuration.seconds(retryAfter, option: "--retry-after", 1...86_400))
        }
        return members.isEmpty ? true : .object(members)
    }

    /// Reads the spec, changes the one field, and writes it if nobody else has written meanwhile; else once more.
    private func change(to value: JSONValue, with client: APIClient, attempts: Int) async throws -> JSONValue {
        let raw = try await client.get(APIClient.appPath(name, "/raw"), app: name)
        let flat = raw["raw"] ?? .null
        let tag = SpecTag.of(revision: raw["parsed"]?["revision"]?.intValue ?? 0, flat: flat)
        var document = AppSpec.document(flat: flat, name: AppName(unchecked: name)).objectValue ?? [:]
        var spec = document["spec"]?.objectValue ?? [:]
        var routing = spec["routing"]?.objectValue ?? [:]
        routing["maintenance"] = value
        if value == .null { routing.removeValue(forKey: "maintenance") }
        spec["routing"] = .object(routing)
        if routing.isEmpty { spec.removeValue(forKey: "routing") }
        document["spec"] = .object(spec)
        do {
            return try await client.post("/apps/register", .object(document), headers: [("If-Match", "\"\(tag)\"")])
        } catch CommandFailure.refused(412, _) where attempts > 1 {
            return try await change(to: value, with: client, attempts: attempts - 1)
        }
    }
}
