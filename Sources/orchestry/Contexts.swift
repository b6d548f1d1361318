import OrchestryModel

/// Clusters by name, in the user's file beside `host` and `port`:
/// `contexts: {prod: {servers: ["https://a:8000"]}}` and `current_context: prod`.
struct Contexts {
    /// Base URLs by the cluster's name.
    var all: [String: [String]] = [:]
    /// nil: `host` and `port` count.
    var current: String?

    /// - Throws: `CommandFailure.usage` for a file that can't be read or is no configuration.
    static func load() throws -> Contexts {
        guard let content = try UserConfiguration.documentIfPresent() else { return Contexts() }
        var contexts = Contexts(current: content["current_context"]?.stringValue)
        for (name, context) in content["contexts"]?.objectValue ?? [:] {
            let servers = (context["servers"]?.arrayValue ?? []).compactMap(\.stringValue)
            guard !servers.isEmpty else {
                throw CommandFailure.usage(
                    "\(UserConfiguration.path): the context \(name) has no servers. Write it anew: "
                        + "orchestry context add \(name) URL[,URL…]")
            }
            contexts.all[name] = servers
        }
        return contexts
    }

    /// Whatever else the file has stays.
    func save() throws {
        var members = try UserConfiguration.documentIfPresent()?.objectValue ?? [:]
        let old = members["contexts"]?.objectValue ?? [:]
        var kept: [String: JSONValue] = [:]
        for (name, servers) in all {
            var context = old[name]?.objectValue ?? [:]
            context["servers"] = .array(servers.map { .string($0) })
            kept[name] = .object(context)
        }
        members["contexts"] = kept.isEmpty ? nil : .object(kept)
        members["current_context"] = current.map { .string($0) }
        try UserConfiguration.write(members)
    }

    /// - Throws: `CommandFailure.usage` when there is no such context.
    func servers(of name: String) throws -> [String] {
        guard let servers = all[name] else { throw unknown(name) }
        return servers
    }

    func unknown(_ name: String) -> CommandFailure {
        let known = all.keys.sorted().joined(separator: ", ")
        return .usage(
            "there is no context \(name). "
                + (known.isEmpty ? "Add it: orchestry context add \(name) URL[,URL…]" : "Known: \(known)"))
    }
}
