import ArgumentParser
import OrchestryModel

struct Completion: ParsableCommand {
    enum Shell: String, ExpressibleByArgument, CaseIterable { case bash, zsh, fish }

    static let configuration = CommandConfiguration(
        commandName: "completion",
        abstract: "Print a script that completes commands, options and names in a shell.",
        discussion: """
            Names of apps, nodes and secrets are asked of the cluster (one second at most), those of contexts are read \
            from the configuration file.
              bash: orchestry completion bash > /etc/bash_completion.d/orchestry
              zsh:  orchestry completion zsh > "${fpath[1]}/_orchestry"
              fish: orchestry completion fish > ~/.config/fish/completions/orchestry.fish
            """)
    @Argument(help: "The shell: bash, zsh or fish.") var shell: Shell

    func run() {
        let kind: CompletionShell =
            switch shell {
            case .bash: .bash
            case .zsh: .zsh
            case .fish: .fish
            }
        print(Orchestry.completionScript(for: kind))
    }
}

extension CompletionKind {
    private static func names(of kind: Names.Kind) -> CompletionKind {
        .shellCommand("orchestry names \(kind.rawValue) 2>/dev/null")
    }
    static var apps: CompletionKind { names(of: .apps) }
    static var nodes: CompletionKind { names(of: .nodes) }
    static var secrets: CompletionKind { names(of: .secrets) }
    static var contexts: CompletionKind { names(of: .contexts) }
}

/// What completion scripts call: one name a line.
struct Names: AsyncParsableCommand {
    enum Kind: String, ExpressibleByArgument, CaseIterable { case apps, nodes, secrets, contexts }

    static let configuration = CommandConfiguration(
        commandName: "names",
        abstract: "Print names for completion, one a line.", shouldDisplay: false)
    @Argument var kind: Kind

    func run() async throws {
        let (path, list, key): (String, String, String)
        switch kind {
        case .apps: (path, list, key) = ("/apps", "apps", "name")
        case .nodes: (path, list, key) = ("/nodes", "nodes", "node_id")
        case .secrets: (path, list, key) = ("/secrets", "secrets", "name")
        case .contexts: return print(try Contexts.load().all.keys.sorted().joined(separator: "\n"))
        }
        let options = try GlobalOptions.parse(["--timeout", "1"])
        let answer = try await options.withClient { try await $0.get(path) }
        let names = (answer[list]?.arrayValue ?? []).compactMap { $0[key]?.stringValue }
        print(names.joined(separator: "\n"))
    }
}
