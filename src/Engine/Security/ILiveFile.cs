namespace KvCache.Engine.Security;

/// <summary>Whoever has read files that may change.</summary>
internal interface ILiveFiles
{
    /// <summary>The files.</summary>
    IEnumerable<ILiveFile> Files { get; }
}

/// <summary>Something that was read from files and follows them when they change.</summary>
internal interface ILiveFile
{
    /// <summary>What it is, for messages.</summary>
    string Name { get; }

    /// <summary>Reads the files again when their content has changed since the last look.</summary>
    /// <param name="problem">Why the new content was refused, the old value then stays; null otherwise.</param>
    /// <returns>Whether there was new content.</returns>
    bool Refresh(out string? problem);
}
