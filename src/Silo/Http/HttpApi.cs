using System.Text.Json.Serialization;
using KvCache.Engine.Storage;
using KvCache.Silo.Options;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Options;

namespace KvCache.Silo.Http;

/// <summary>The HTTP API: for tools, routers and engines without a client of their own. docs/http.md is its guide.</summary>
internal static class HttpApi
{
    public static void AddKvCacheHttp(this IServiceCollection services, IConfiguration configuration)
    {
        services.AddOptions<HttpApiOptions>().Bind(configuration.GetSection(HttpApiOptions.Section)).ValidateDataAnnotations()
            .ValidateOnStart();
        services.AddSingleton<NamespaceTable>();
        services.AddSingleton<HttpGate>();
        services.AddSingleton<HttpOrigins>();
        services.AddSingleton<Operators>();
        services.AddSingleton<OperatorGate>();
        services.AddSingleton<HttpConnections>();
        services.AddSingleton<ProblemWriter>();
        services.AddSingleton<Microsoft.AspNetCore.Diagnostics.IExceptionHandler>(provider => provider.GetRequiredService<ProblemWriter>());
        services.AddProblemDetails(options => options.CustomizeProblemDetails = ProblemWriter.Complete);
        services.Configure<RouteHandlerOptions>(options => options.ThrowOnBadRequest = true); // so that a problem says what was bad
        services.ConfigureHttpJsonOptions(options =>
        {
            options.SerializerOptions.TypeInfoResolverChain.Insert(0, HttpJsonContext.Default);
            options.SerializerOptions.TypeInfoResolverChain.Insert(1, TenantJsonContext.Default);
            options.SerializerOptions.DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull;
            options.SerializerOptions.NumberHandling = JsonNumberHandling.Strict; // a number is no string, and is not described as one
            options.SerializerOptions.UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow;
        });
        services.AddOpenApi("v1", HttpApiDescription.Configure);
        services.AddOptions<KestrelServerOptions>()
            .Configure<IOptions<DataPlaneOptions>, HttpConnections>((kestrel, dataPlane, connections) =>
        {
            var slowest =
                new MinDataRate(
                dataPlane.Value.MinBytesPerSecond, dataPlane.Value.FrameTimeout > TimeSpan.FromSeconds(1)
                ? dataPlane.Value.FrameTimeout
                : TimeSpan.FromSeconds(1.001));
            kestrel.AddServerHeader = false;
            kestrel.ConfigureEndpointDefaults(listen => listen.Use(next => connection => connections.ServeAsync(connection, next)));
            kestrel.Limits.RequestHeadersTimeout = dataPlane.Value.HandshakeTimeout > TimeSpan.FromSeconds(1)
                ? dataPlane.Value.HandshakeTimeout
                : TimeSpan.FromSeconds(1);
            // a refused block must not cost the connection before the answer is out
            kestrel.Limits.MaxRequestBodySize = KvLayout.MaxBlockBytes;
            kestrel.Limits.MinRequestBodyDataRate = slowest;
            kestrel.Limits.MinResponseDataRate = slowest;
        });
    }

    public static void MapKvCacheHttp(this WebApplication app)
    {
        app.UseExceptionHandler(
            new ExceptionHandlerOptions
            {
                SuppressDiagnosticsCallback = context => context.Exception is HttpProblemException
            or Microsoft.AspNetCore.Http.BadHttpRequestException
            });
        app.UseStatusCodePages();
        var origins = app.Services.GetRequiredService<HttpOrigins>();
        app.Use(next => context => origins.InvokeAsync(context, next));
        var gate = app.Services.GetRequiredService<HttpGate>();
        app.Use(next => context => gate.InvokeAsync(context, next));
        var operators = app.Services.GetRequiredService<OperatorGate>();
        app.Use(next => context => operators.InvokeAsync(context, next));
        app.MapOpenApi();

        var json = new RequestSizeLimitAttribute(app.Services.GetRequiredService<IOptions<HttpApiOptions>>().Value.MaxJsonBytes);
        var api = app.MapGroup(HttpGate.Path).WithTags("v1").ProducesProblem(400).ProducesProblem(401).ProducesProblem(403)
            .ProducesProblem(404).ProducesProblem(421).ProducesProblem(500).ProducesProblem(503).AddEndpointFilterFactory(KnownQuery.Check);
        api.MapPost("/namespaces", QueryEndpoints.Register).WithMetadata(json).WithName("registerNamespace")
            .WithSummary("Registers a namespace and gives its id.");
        api.MapGet("/namespaces/{ns}", QueryEndpoints.Describe).WithName("getNamespace").WithSummary("Describes a registered namespace.");
        api.MapPost("/match", QueryEndpoints.Match).WithMetadata(json).WithName("match")
            .WithSummary("Tells how much of a prompt is stored, from its first token on. Not a use of any block.");
        api.MapPost("/locate", LocateEndpoint.Locate).WithMetadata(json).WithName("locate")
            .WithSummary(
            "Tells how many tokens of a prompt each node holds in which tier, with a score for routers. Not a use of any block.");
        api.MapPost("/pin", QueryEndpoints.PinAsync).WithMetadata(json).WithName("pin")
            .WithSummary("Keeps blocks from eviction for a time.");
        api.MapPost("/expire", QueryEndpoints.ExpireAsync).WithMetadata(json).WithName("expire")
            .WithSummary("Sets the life of blocks from now on, on every silo and in Redis.");
        api.MapPost("/hint", QueryEndpoints.Hint).WithMetadata(json).WithName("hint")
            .WithSummary("Tells what is known of a prompt after its answer: how it ended, a priority, a retention.");
        api.MapGet("/stats", QueryEndpoints.Statistics).Produces<TenantStatistics>().WithName("statistics")
            .WithSummary("What the tenant has on this silo, and has used of it.");

        app.MapTenants(json);
        app.MapRecording();
        const string Block = "/blocks/{ns}/{hash}";
        api.MapGet(Block, BlockEndpoints.GetAsync).WithName("getBlock").WithSummary("The bytes of a block, or of a run of its layers.")
            .Produces(200, contentType: "application/octet-stream").AddOpenApiOperationTransformer(HttpApiDescription.DescribeGet);
        api.MapMethods(Block, [HttpMethods.Head], BlockEndpoints.Head).WithName("headBlock")
            .WithSummary("Whether a block is stored, and where. Not a use of it.").Produces(200)
            .AddOpenApiOperationTransformer(HttpApiDescription.DescribeHead);
        api.MapPut(Block, BlockEndpoints.PutAsync).WithName("putBlock")
            .WithSummary("Stores a block. It becomes visible when all of it has arrived.")
            .Produces<PutBlockReply>(201).Produces<PutBlockReply>(200).ProducesProblem(409).ProducesProblem(413).ProducesProblem(422)
                .ProducesProblem(507)
            .AddOpenApiOperationTransformer(HttpApiDescription.DescribePut);
        api.MapDelete(Block, BlockEndpoints.DeleteAsync).WithName("deleteBlock").WithSummary("Deletes a block on every silo and in Redis.")
            .Produces(204).Produces(202);
        api.MapDelete("/blocks/{ns}", BlockEndpoints.ClearAsync).WithName("clearNamespace")
            .WithSummary("Deletes all blocks of a namespace that are stored now, on every silo and in Redis.")
            .Produces<ClearReply>(200).Produces<ClearReply>(202);
    }
}
