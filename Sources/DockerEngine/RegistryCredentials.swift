import Foundation
import OrchestryModel

/// User and password of a registry, from the text of a secret: `user:password`, `{"username": …, "password": …}`, or the
/// `auths` of a Docker or Kubernetes configuration.
package struct RegistryCredentials: Sendable {
    private var user: String
    private var password: String

    /// - Parameter image: whose registry's entry of `auths` counts.
    /// - Returns: nil when the text is none of these forms, or `auths` has no entry for that registry.
    package init?(_ text: String, image: String) {
        if text.hasPrefix("{") {
            guard let document = try? JSONValue(jsonText: text) else { return nil }  // Not JSON: none of the forms.
            guard
                let found = Self.pair(in: document)
                    ?? Self.pair(inAuthsOf: document, registry: Self.registry(of: image))
            else { return nil }
            (user, password) = found
        } else {
            guard let found = Self.split(text) else { return nil }
            (user, password) = found
        }
    }

    /// The engine's `X-Registry-Auth` header.
    package func header(for image: String) -> String {
        let document: JSONValue = [
            "username": .string(user), "password": .string(password),
            "serveraddress": .string(Self.registry(of: image)),
        ]
        return Data(document.jsonText().utf8).base64EncodedString().replacing("+", with: "-").replacing("/", with: "_")
    }

    /// `host[:port]`; Docker Hub's when the image names none.
    package static func registry(of image: String) -> String {
        let first = image.prefix { $0 != "/" }
        let isHost = first.count < image.count && (first.contains(".") || first.contains(":") || first == "localhost")
        return isHost ? String(first) : "docker.io"
    }

    private static func split(_ text: String) -> (String, String)? {
        guard let colon = text.firstIndex(of: ":"), colon != text.startIndex else { return nil }
        return (String(text[..<colon]), String(text[text.index(after: colon)...]))
    }

    private static func pair(in document: JSONValue) -> (String, String)? {
        guard let user = document["username"]?.stringValue, let password = document["password"]?.stringValue else {
            return nil
        }
        return (user, password)
    }

    private static func pair(inAuthsOf document: JSONValue, registry: String) -> (String, String)? {
        let auths = document["auths"]?.objectValue ?? [:]
        func host(_ key: String) -> String {
            let rest = key.split(separator: "://", maxSplits: 1).last.map(String.init) ?? key
            let name = String(rest.prefix { $0 != "/" })
            return name == "index.docker.io" ? "docker.io" : name
        }
        // Another registry's password is nobody else's business, even if it is the only one there.
        guard let entry = auths.sorted(by: { $0.key < $1.key }).first(where: { host($0.key) == registry })?.value else {
            return nil
        }
        if let pair = pair(in: entry) { return pair }
        guard let encoded = entry["auth"]?.stringValue, let data = Data(base64Encoded: encoded) else { return nil }
        return split(String(decoding: data, as: UTF8.self))
    }
}
