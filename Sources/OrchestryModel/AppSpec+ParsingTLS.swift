/// What of the `spec.routing` section says who may reach an app, and how: TLS, address lists, maintenance.
extension DocumentReader {
    mutating func tls(_ routing: Object) -> AppSpec.Routing.TLS? {
        guard
            let tls = object(
                routing["tls"], at: routing.path(of: "tls"), keys: ["certificateSecret", "keySecret", "redirect"],
                hints: [
                    "certificate": "did you mean certificateSecret, the name of a secret?",
                    "key": "did you mean keySecret, the name of a secret?",
                    "secret": "certificate and key are two secrets: certificateSecret and keySecret",
                ])
        else { return nil }
        let redirect = boolean(tls, "redirect") ?? true
        let certificate = secretName(tls, "certificateSecret", of: "certificate")
        let key = secretName(tls, "keySecret", of: "private key")
        if let certificate, certificate == key {
            report(tls.path(of: "keySecret"), "must be another secret than certificateSecret, got \"\(certificate)\"")
        }
        guard let certificate, let key else { return nil }
        return AppSpec.Routing.TLS(certificateSecret: certificate, keySecret: key, redirect: redirect)
    }

    private mutating func secretName(_ tls: Object, _ key: String, of what: String) -> SecretName? {
        guard tls[key] != nil else {
            report(tls.path(of: key), "is required: the name of the secret with the \(what) in PEM")
            return nil
        }
        return text(
            tls, key, atMost: 63,
            "a secret's name: 1 to 63 of letters, digits, '.', '_' and '-', a letter or digit first",
            SecretName.isValid
        ).map(SecretName.init(unchecked:))
    }

    /// nil: the list is not given, or empty.
    mutating func addressRanges(_ routing: Object, _ key: String) -> [AddressRange]? {
        guard let elements = list(routing, key, atMost: AppSpec.Routing.maximumRanges, of: "addresses") else {
            return nil
        }
        var ranges: [AddressRange] = []
        for (path, value) in elements {
            guard let range = value.stringValue.flatMap(AddressRange.init(rawValue:)) else {
                report(
                    path,
                    "must be an address or a network such as \"10.0.0.0/8\" or \"fd00::/8\", got "
                        + Self.describe(value))
                continue
            }
            if ranges.contains(range) {
                report(path, "must not repeat a range, got \"\(range)\" twice")
            } else {
                ranges.append(range)
            }
        }
        return ranges.isEmpty ? nil : ranges
    }

    /// `true`, or an object that says more.
    mutating func maintenance(_ routing: Object) -> AppSpec.Routing.Maintenance? {
        guard let value = routing["maintenance"] else { return nil }
        let path = routing.path(of: "maintenance")
        if let flag = value.boolValue { return flag ? AppSpec.Routing.Maintenance() : nil }
        guard value.objectValue != nil else {
            report(
                path,
                "must be true, false or an object with retryAfterSeconds and message, got \(Self.describe(value))")
            return nil
        }
        guard let object = object(value, at: path, keys: ["retryAfterSeconds", "message"]) else { return nil }
        var result = AppSpec.Routing.Maintenance()
        result.retryAfterSeconds = integer(object, "retryAfterSeconds", 1...86_400) ?? result.retryAfterSeconds
        result.message = text(
            object, "message", atMost: AppSpec.Routing.Maintenance.maximumMessageBytes,
            "a line of 1 to \(AppSpec.Routing.Maintenance.maximumMessageBytes) bytes")
        return result
    }
}
