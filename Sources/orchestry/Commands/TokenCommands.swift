import AccessControl
import ArgumentParser
import Foundation
import OrchestryModel
import SecretSealing

struct Token: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "token",
        abstract: "Make, list and revoke tokens for the API.",
        discussion: """
            The first one: orchestry token generate FILE, and auth.bootstrap_token_file: FILE on one node. With that \
            (--token-file FILE) make the others, then take the setting out again.
            Roles: viewer looks; operator also deploys, scales and drains; admin also sets secrets, makes tokens and reads \
            the audit trail.
            """,
        subcommands: [TokenCreate.self, TokenList.self, TokenRevoke.self, TokenGenerate.self])
}

struct TokenCreate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Make a token. It is shown once, and kept nowhere but where you put it.")
    @Argument(help: "Its name: letters, digits, '.', '_' and '-'.") var name: String
    @Option(help: "viewer, operator or admin.") var role: String
    @Option(help: ArgumentHelp("Only these apps, separated by commas.", valueName: "app,…")) var apps: String?
    @Option(
        help: ArgumentHelp(
            "Only these of the role's verbs: \(Verb.allCases.map(\.rawValue).joined(separator: ", ")).",
            valueName: "verb,…"))
    var verbs: String?
    @Option(help: ArgumentHelp("How long it holds: 30d, 12h, 90m. Without it, until revoked.", valueName: "time"))
    var expires: String?
    @Option(help: ArgumentHelp("Write it to this new file (mode 600) instead of showing it.", valueName: "file"))
    var to: String?
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        // Made here: it never leaves this machine, and a repeated request is the same request.
        var generator = SystemRandomNumberGenerator()
        let token = TokenText.generate(using: &generator)
        var body: [String: JSONValue] = [
            "name": .string(name), "role": .string(role), "sha256": .string(TokenText.hash(token)),
        ]
        if let apps { body["apps"] = Self.list(apps) }
        if let verbs { body["verbs"] = Self.list(verbs) }
        if let expires { body["expiresSeconds"] = JSONValue(try Self.seconds(expires)) }
        if let to, FileManager.default.fileExists(atPath: to) { throw CommandFailure.usage("\(to) exists already") }
        let request = JSONValue.object(body)
        try await options.withClient { client in
            let answer = try await client.post("/tokens", request)
            if let to {
                do throws(PrivateFile.Failure) {
                    try PrivateFile.create(to, token + "\n")
                } catch {
                    throw CommandFailure.local("\(error). The token is lost: orchestry token revoke \(name)")
                }
                Output.show(answer, as: options.output) { _ in "Token \(name) is in \(to)." }
                return
            }
            var members = answer.objectValue ?? [:]
            members["token"] = .string(token)
            // The token alone, for `$(…)`.
            Output.show(.object(members), as: options.output) { _ in token }
            Output.complain("Token \(name), shown this once. Keep it in a file of mode 600: --token-file FILE.")
        }
    }

    private static func list(_ text: String) -> JSONValue {
        .array(text.split(separator: ",").map { .string($0.trimmingCharacters(in: .whitespaces)) })
    }

    static func seconds(_ text: String) throws -> Int {
        let units: [Character: Int] = ["s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800]
        guard let unit = text.last.flatMap({ units[$0] }), let number = Int(text.dropLast()), number > 0,
            number <= APIToken.longestSeconds / unit
        else { throw CommandFailure.usage("--expires must be a time such as 30d, 12h or 90m, at most ten years") }
        return number * unit
    }
}

struct TokenList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List the tokens that are not revoked.")
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        try await options.show {
            try await $0.get("/tokens")
        } table: { answer in
            func words(_ value: JSONValue?) -> String {
                (value?.arrayValue?.compactMap(\.stringValue)).map { $0.joined(separator: ",") } ?? "all"
            }
            return Output.table(
                of: "tokens", in: answer, none: "No tokens yet. Make one: orchestry token create NAME --role ROLE",
                ["NAME", "ROLE", "VERBS", "APPS", "CREATED", "BY", "EXPIRES", "LAST USED"]
            ) { token in
                let end = token["expired"] == true ? "expired" : Output.time(token["expires_at"])
                return [
                    Output.cell(token["name"]), Output.cell(token["role"]), words(token["verbs"]),
                    words(token["apps"]), Output.time(token["created_at"]), Output.cell(token["created_by"]),
                    end == "-" ? "never" : end, Output.time(token["last_used_at"]),
                ]
            }
        }
    }
}

struct TokenRevoke: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "revoke", abstract: "End a token.")
    @Argument(help: "The token's name.") var name: String
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        try await options.show {
            try await $0.delete(APIClient.tokenPath(name))
        } table: { _ in
            "Token \(name) is revoked: nothing is done for it any more."
        }
    }
}

struct TokenGenerate: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "generate", abstract: "Make a token in a file, for auth.bootstrap_token_file.",
        discussion: "A node whose auth.bootstrap_token_file names the file takes the token for an admin's.")
    @Argument(help: "The file; it must not exist.") var file: String

    func run() throws {
        var generator = SystemRandomNumberGenerator()
        do throws(PrivateFile.Failure) {
            try PrivateFile.create(file, TokenText.generate(using: &generator) + "\n")
        } catch {
            throw CommandFailure.local(error.description)
        }
        print(
            "Made \(file), readable for you only. Name it in auth.bootstrap_token_file, and give it with --token-file.")
    }
}
