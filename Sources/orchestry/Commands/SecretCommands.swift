import ArgumentParser
import Foundation
import OrchestryModel
import SecretSealing

struct Secret: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "secret",
        abstract: "Keep passwords and keys for apps.",
        discussion: """
            An app gets one as a variable: environment: [{name: DB_PASSWORD, source: secret, key: NAME}]. A new value \
            restarts the apps that use it, one instance after the other. Values are never shown again.
            """,
        subcommands: [SecretSet.self, SecretList.self, SecretRemove.self, SecretKey.self])
}

struct SecretSet: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "set", abstract: "Set a secret to what standard input or a file holds.",
        discussion: "One newline at the end is taken off, unless --raw is given. At a terminal the value is asked for.")
    @Argument(help: "The secret: letters, digits, '.', '_' and '-'.") var name: String
    @Option(name: .long, help: ArgumentHelp("Read the value from this file.", valueName: "file")) var fromFile: String?
    @Flag(help: "Keep a newline at the end.") var raw = false
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        guard SecretName.isValid(name) else {
            throw CommandFailure.usage(
                "'\(name)' is not a secret's name: letters, digits, '.', '_' and '-', at most 63")
        }
        let value = try self.value()
        try await options.show {
            try await $0.put(APIClient.secretPath(name), ["value": .string(value)])
        } table: { answer in
            let version = Output.cell(answer["version"])
            guard answer["status"] != "no_change" else {
                return "\(name) has that value already (version \(version))."
            }
            let apps = (answer["restarting"]?.arrayValue ?? []).compactMap(\.stringValue)
            return "\(name): set, version \(version)."
                + (apps.isEmpty
                    ? "" : "\nRestarting with it, one instance after the other: " + apps.joined(separator: ", "))
        }
    }

    private func value() throws -> String {
        let bytes: Data
        if let fromFile {
            guard let content = FileManager.default.contents(atPath: fromFile) else {
                throw CommandFailure.usage("\(fromFile) cannot be read")
            }
            bytes = content
        } else if isatty(FileHandle.standardInput.fileDescriptor) == 1 {
            bytes = try Self.ask("Value of \(name) (not shown): ")
        } else {
            bytes = FileHandle.standardInput.readDataToEndOfFile()
        }
        guard var text = String(bytes: bytes, encoding: .utf8) else {
            throw CommandFailure.usage("the value is not UTF-8 text; encode it, for example with base64")
        }
        if !raw, text.last?.isNewline == true { text.removeLast() }
        guard !text.isEmpty else { throw CommandFailure.usage("the value is empty") }
        return text
    }

    private static func ask(_ prompt: String) throws -> Data {
        FileHandle.standardError.write(Data(prompt.utf8))
        var shown = termios()
        guard tcgetattr(STDIN_FILENO, &shown) == 0 else { throw CommandFailure.local("the terminal can't be set up") }
        var hidden = shown
        hidden.c_lflag &= ~tcflag_t(ECHO)
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden)
        defer {
            tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown)
            FileHandle.standardError.write(Data("\n".utf8))
        }
        return Data((readLine(strippingNewline: false) ?? "").utf8)
    }
}

struct SecretList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List secrets, without their values.")
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        try await options.show {
            try await $0.get("/secrets")
        } table: { answer in
            Output.table(
                of: "secrets", in: answer, none: "No secrets yet. Set one: orchestry secret set NAME < FILE",
                ["NAME", "VERSION", "CHANGED", "BY", "KEY", "USED BY"]
            ) { secret in
                let apps = (secret["used_by"]?.arrayValue ?? []).compactMap(\.stringValue)
                return [
                    Output.cell(secret["name"]), Output.cell(secret["version"]),
                    Output.time(secret["updated_at"]), Output.cell(secret["updated_by"]),
                    Output.cell(secret["key_id"]), apps.isEmpty ? "-" : apps.joined(separator: ", "),
                ]
            }
        }
    }
}

struct SecretRemove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "rm", abstract: "Remove a secret.")
    @Argument(help: "The secret.", completion: .secrets) var name: String
    @Flag(help: "Even though apps use it: they keep what runs, and start nothing new without it.") var force = false
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        try await options.show {
            try await $0.delete(APIClient.secretPath(name), query: force ? [("force", "true")] : [])
        } table: { answer in
            let apps = (answer["held"]?.arrayValue ?? []).compactMap(\.stringValue)
            return "\(name): removed."
                + (apps.isEmpty ? "" : "\nNot started any more without it: " + apps.joined(separator: ", "))
        }
    }
}

struct SecretKey: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "key", abstract: "Make a key that seals secrets.",
        discussion: """
            Copy the file to every node and name it in secrets.key_file. Given a file that exists, a key is added below \
            the others: copy it everywhere and restart the nodes, then move the new key to the top, copy and restart \
            again, and set each secret once more (the same value is fine). Without a file the key is printed.
            """)
    @Argument(help: "The file.") var file: String?

    func run() throws {
        guard let file else { return print(SecretKeys.generateLine()) }
        do {
            let isNew = try SecretKeyFile.addKey(to: file)
            print(
                isNew
                    ? "Made \(file). Copy it to every node, readable for orchestryd only, and name it in secrets.key_file."
                    : "Added a key to \(file), as the last one: the first goes on sealing.")
        } catch {
            throw CommandFailure.local("\(error)")
        }
    }
}
