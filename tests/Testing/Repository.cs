namespace KvCache.Testing;

/// <summary>The checkout that the tests were built in.</summary>
internal static class Repository
{
    /// <summary>Its folder.</summary>
    /// <exception cref="InvalidOperationException">The tests run outside of it.</exception>
    public static string Root { get; } = Find();

    /// <summary>A file or folder beside the checkout, such as <c>shared/models/stories260K.bin</c>; null where it is missing.</summary>
    public static string? Beside(string path) =>
        Path.GetFullPath(Path.Combine(Root, "..", path)) is var full && Path.Exists(full) ? full : null;

    private static string Find()
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "KvCache.sln")))
                return folder.FullName;
        }

        throw new InvalidOperationException($"There is no KvCache.sln above {AppContext.BaseDirectory}; these tests need the repository.");
    }
}
