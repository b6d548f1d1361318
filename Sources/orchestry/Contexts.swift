import OrchestryModel

/// Clusters by name, in the user's file beside `host` and `port`:
/// `contexts: {prod: {servers: ["https://a:8000"], ca: /etc/prod.pem, token_file: /home/ann/prod.token}}` and
/// `current_context: prod`.
struct Contexts {
    struct Context {
        /// Base URLs, never empty.
        var servers: [String]
        /// Path of the authorities to trust; nil: the system's.
        var ca: String?
        /// Path of the file with the token; nil: none.
        var tokenFile: String?
    }

    var all: [String: Context] = [:]
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
            contexts.all[name] = Context(
                servers: servers, ca: context["ca"]?.stringValue, tokenFile: context["token_file"]?.stringValue)
        }
        return contexts
    }

    /// Whatever else the file has stays.
    func save() throws {
        var members = try UserConfiguration.documentIfPresent()?.objectValue ?? [:]
        let kept = all.mapValues { context in
            var stored: [String: JSONValue] = ["servers": .array(context.servers.map { .string($0) })]
            stored["ca"] = context.ca.map { .string($0) }
            stored["token_file"] = context.tokenFile.map { .string($0) }
            return JSONValue.object(stored)
        }
        members["contexts"] = .object(kept)
        if kept.isEmpty { members.removeValue(forKey: "contexts") }
        members["current_context"] = current.map { .string($0) }
        try UserConfiguration.write(members)
    }

    /// - Throws: `CommandFailure.usage` when there is no such context.
    func named(_ name: String) throws -> Context {
        guard let context = all[name] else { throw unknown(name) }
        return context
    }

    func unknown(_ name: String) -> CommandFailure {
        let known = all.keys.sorted().joined(separator: ", ")
        return .usage(
            "there is no context \(name). "
                + (known.isEmpty ? "Add it: orchestry context add \(name) URL[,URL…]" : "Known: \(known)"))
    }
}
