namespace KvCache.Chat.Gguf;

/// <summary>The small model of samples/QuickStart as a GGUF, written where it is first used.</summary>
internal static class DemoModel
{
    /// <summary>Path of the GGUF. All processes write the same bytes, so that their digests are equal.</summary>
    public static string Path()
    {
        var source = System.IO.Path.Combine(AppContext.BaseDirectory, "harbor");
        var written = new FileInfo(System.IO.Path.Combine(source, "model.safetensors")).LastWriteTimeUtc;
        var path = System.IO.Path.Combine(System.IO.Path.GetTempPath(), $"kvcache-harbor-{Environment.UserName}-{written.Ticks:x}.gguf");
        if (File.Exists(path))
            return path;
        var part = $"{path}.{Environment.ProcessId}";
        HuggingFaceModel.Write(source, part);
        File.Move(part, path, overwrite: true);
        return path;
    }
}
