// Members of stored and labelled forms that an earlier one did not have: absent means the default. The compiler's own
// `init(from:)` of the types that hold them calls these, as the closest match.

extension KeyedDecodingContainer {
    func decode(_ type: [SealedSecret].Type, forKey key: Key) throws -> [SealedSecret] {
        try decodeIfPresent(type, forKey: key) ?? []
    }

    func decode(_ type: [AppSpec.StatusRange].Type, forKey key: Key) throws -> [AppSpec.StatusRange] {
        try decodeIfPresent(type, forKey: key) ?? []
    }

    func decode(_ type: [AppSpec.Volume].Type, forKey key: Key) throws -> [AppSpec.Volume] {
        try decodeIfPresent(type, forKey: key) ?? []
    }
}
